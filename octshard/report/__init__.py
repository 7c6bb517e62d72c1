"""Self-contained HTML pages: document, tables, charts."""
