"""A small SDXL of our own that draws pixel art: its pictures, its network, its training."""
