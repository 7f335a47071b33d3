"""The trainer: pure torch, knows nothing of ComfyUI. Packages stand in the order in which data flows.

Each imports only lower ones (`tests/test_architecture.py` holds the table). Read `config/train.py`, then
`training/loop.py`.
"""
