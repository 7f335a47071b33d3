"""The trainer: pure torch, knows nothing of ComfyUI. Packages stand in the order in which data flows.

Each imports only lower ones (`tests/test_architecture.py` holds the table). Read
`trainer/config/train.py`, then `trainer/training/loop.py`.
"""
