"""Tiny stand-ins (SDXL, tagger, images) and a driver for a real ComfyUI server."""
