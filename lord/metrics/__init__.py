"""Measuring samples: FID, CLIP-IQA and identity match, and how far each can be trusted."""
