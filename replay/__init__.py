"""Replays of numbers recorded from kohya (`headless.py golden`), read by the importer that users run."""
