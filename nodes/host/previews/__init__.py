"""Previews while training: sampled with ComfyUI, kept, and laid out as a grid."""
