"""`octshard eval compare`: several encoders on the same people, paired; learning curves."""
