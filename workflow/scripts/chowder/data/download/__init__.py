"""Fetching files whole and right."""
