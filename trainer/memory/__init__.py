"""What a run needs and what fits: the memory plan and its advice. Imports `layers` and `optim`."""
