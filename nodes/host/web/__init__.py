"""What the pages of ComfyUI ask of the pack over HTTP."""
