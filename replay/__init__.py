"""Replays of numbers recorded from kohya: `headless.py golden`."""
