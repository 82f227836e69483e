"""The page to open first: results/<dataset>/index.html."""
