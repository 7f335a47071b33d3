"""The functions of ComfyUI that the pack calls, for the type checker alone; any host version is checked alike.

MODEL, CLIP and VAE are `Any` here: nodes/host/model/host_types.py names what is used of them.
"""
