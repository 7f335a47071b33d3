"""Score Previews: a run's previews looked at by a tagger, and what follows for the LoRA."""
