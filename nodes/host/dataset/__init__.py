"""What the dataset nodes do: load, tag, filter, curate, tidy, cache."""
