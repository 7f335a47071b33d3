"""The ways that are compared."""
