"""Where the arithmetic happens: cpu, cuda, xla, and what differs between them."""
