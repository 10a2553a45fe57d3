"""Why a model learns and why it forgets: numbers, no pictures."""
