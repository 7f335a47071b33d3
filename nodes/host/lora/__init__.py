"""LoRA files through ComfyUI: applied, loaded and saved."""
