"""Measurements against references in the same run."""
