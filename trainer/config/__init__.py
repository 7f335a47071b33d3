"""One typed config: everything that can be set, its default and its check. Imports `sdxl` only."""
