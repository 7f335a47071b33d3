"""Tidy Dataset: a folder's files are renamed by a plan, with a journal to undo it. Imports `dataset` and `files`."""
