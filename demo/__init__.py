"""Tiny stand-ins (SDXL, tagger, pictures) and a driver for a real ComfyUI server."""
