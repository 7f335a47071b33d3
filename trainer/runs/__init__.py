"""A run on disk: its folder, states, history, log, and where another run starts from. Imports `training` and
`lora_files`.
"""
