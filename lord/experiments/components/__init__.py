"""On the Robustness of Latent Diffusion Models (arXiv 2306.08257): which part of a model breaks.

Each file here is an experiment, as in the other papers' folders.
"""
