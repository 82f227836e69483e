"""The benchmark table: rows, and one writer a format."""
