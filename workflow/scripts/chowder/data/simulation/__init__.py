"""Simulated slides: layout, cells, pixels."""
