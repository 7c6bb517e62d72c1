"""Self-contained HTML pages: document, tables, plots."""
