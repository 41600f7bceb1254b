"""Backdoors in unconditional diffusion models: how they get in, and how they are found."""
