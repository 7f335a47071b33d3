"""Captions as lists of tags: filters, patterns, identity tags, merging, reports."""
