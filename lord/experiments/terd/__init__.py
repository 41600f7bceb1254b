"""TERD (arXiv 2409.05294): backdoors in unconditional diffusion models, and how they are found.

Each file here is an experiment, as in the other papers' folders.
"""
