"""What is trained: which layers are targets, their adapters, dropout. Imports `frozen`, `optim` and `batches`."""
