"""Several processes that train one LoRA, started by torchrun from the command line."""
