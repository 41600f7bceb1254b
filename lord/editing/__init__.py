"""Editing pictures with the model: variation, inpainting and super-resolution.

Each task is a stock diffusers pipeline. The U-Nets of the last two take more channels than the
model's own; what they learn beside it is a low-rank update (`lord.editing.adaptation`).
"""
