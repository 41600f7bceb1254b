"""Attacks that make images unlearnable, and attackers who know the defence."""
