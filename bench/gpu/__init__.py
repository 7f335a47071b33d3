"""Training of full-size SDXL on one GPU, ways side by side."""
