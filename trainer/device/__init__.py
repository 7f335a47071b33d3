"""Bytes between RAM and the accelerator: pinned copies, a copy stream, spilling; its ways of attention. Imports nothing of the trainer."""
