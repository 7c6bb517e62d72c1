"""Pictures of an evaluation: what tokens, heads and neighbours look like on the B-scans of people."""
