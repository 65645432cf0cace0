"""What a model is fed with: stored regions, the patches drawn from them, and their variation."""
