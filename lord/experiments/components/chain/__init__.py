"""What the experiments on components compute with: editors, pictures, attacks and judgements."""
