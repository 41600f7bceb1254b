"""The experiments: each a function from the bench to numbers, curves and a picture."""
