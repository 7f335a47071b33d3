"""The trainer: pure torch, knows nothing of ComfyUI. Read config.py, loop.py, step.py, lora.py."""
