"""A tour from a text to a prediction, each stage with real numbers."""
