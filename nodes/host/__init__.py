"""The seam to ComfyUI: everything that the nodes need of the host, and nothing of the nodes."""
