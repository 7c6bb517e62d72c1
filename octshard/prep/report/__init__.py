"""One HTML page on what a dataset holds, what was refused and why."""
