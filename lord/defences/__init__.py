"""Defences in the training: LoRD and adversarial training (stage 1), and their use at test time."""
