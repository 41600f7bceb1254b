"""Low-Rank Defense, a reproducible study."""
