"""The training loop, and LoRA fine-tuning on top of it."""
