"""Models and images that every way is given."""
