"""LoRA Loop's nodes: schemas and thin executes over `trainer`, `tagger` and `host`."""
