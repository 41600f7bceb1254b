"""Robust diffusion models for adversarial purification (arXiv 2403.16067, later called Adversarial
guided diffusion models): classifiers behind purifiers, and attackers who know all of it.

Each file here is an experiment, as in the other papers' folders.
"""
