"""A page to leaf through stored volumes."""
