"""What a step needs, counted and not timed."""
