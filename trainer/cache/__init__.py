"""From a Dataset to a CachedDataset: latents, masks and caption encodings on disk by content. Imports `dataset` and
below.
"""
