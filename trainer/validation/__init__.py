"""Held-out images: the split, the measurement, the book of results, patience. Imports `runs` and `training`."""
