"""Purification: making attacked images harmless, for training or for a classifier."""
