"""How layers are computed while training: attached adapters, compact saved activations, recomputation, kernels.
Imports `network` and `frozen`.
"""
