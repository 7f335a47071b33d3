"""LoRA files: written, read, converted between formats, with kohya's metadata. Imports `batches`, `config` and `sdxl`."""
