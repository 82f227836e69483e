"""Slides tables, Camelyon-16, download, annotations, simulated slides."""
