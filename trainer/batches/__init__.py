"""From a CachedDataset to the batch of each step: the plan of an epoch, captions, tensors. Imports `cache`, `device`
and below.
"""
