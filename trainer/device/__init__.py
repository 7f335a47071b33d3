"""Bytes between RAM and the accelerator: pinned copies, a copy stream, spilling. Imports nothing of the trainer."""
