"""One step and the loop of steps: noise, loss, gradients, CUDA graphs, state. Imports `network`, `batches` and
`optim`.
"""
