"""What turns gradients into updates: optimisers, flat parameters, loss scale, EMA, learning rates. Imports `config`
and `device`."""
