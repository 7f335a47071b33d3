"""Bytes between RAM and the accelerator: pinned copies, a copy stream, spilling; attention's kernels. Imports nothing of the trainer."""
