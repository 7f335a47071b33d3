# ComfyUI with dynamic VRAM only, which 0.16 has not.
aimdo_enabled: bool
