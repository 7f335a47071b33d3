"""What trainer and tagger both stand on; imports nothing of the pack."""
