"""The Dataset page of the sidebar: what it is told of datasets that were read, and what it saves."""
