"""Facts of SDXL's architecture: blocks, buckets, noise schedule, sizes, token chunks and names. Imports nothing of
the trainer.
"""
