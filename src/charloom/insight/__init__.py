"""Why a model learns, why it forgets, and what it does at each step: numbers, never pictures."""
