"""What the experiments on TERD compute with: backdoored models and reversed triggers."""
