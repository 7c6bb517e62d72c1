"""A trained encoder as a folder that others can use. Nothing is uploaded."""
