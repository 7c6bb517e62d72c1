"""The whole road on made-up eyes, and the page that shows it."""
