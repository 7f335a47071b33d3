"""Weights that somebody else owns: held, borrowed, streamed or kept in 8 bits, never changed. Imports `device`."""
