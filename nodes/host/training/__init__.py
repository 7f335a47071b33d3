"""A training inside ComfyUI: from the request of the Train node to its result."""
