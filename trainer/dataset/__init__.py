"""From a folder on disk to a Dataset: scanned, decoded, captions read and written. Imports `config`, `files` and
`sdxl`.
"""
