"""What the experiments on purification compute with: classifiers, victims, and attacks on them."""
