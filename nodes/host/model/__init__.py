"""MODEL, CLIP and VAE as the trainer sees them: weights, memory, fingerprints, encoding."""
