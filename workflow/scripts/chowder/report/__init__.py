"""Table, figures, summary page, export, the paper's numbers."""
