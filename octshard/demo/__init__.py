"""The whole pipeline on made-up eyes, and the page that shows it."""
