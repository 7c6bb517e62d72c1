"""Self-contained HTML pages: frame, tables, plots."""
