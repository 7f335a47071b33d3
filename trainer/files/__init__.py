"""Files on disk: written in one move, indexed, locked and addressed by content. Imports nothing of the trainer."""
