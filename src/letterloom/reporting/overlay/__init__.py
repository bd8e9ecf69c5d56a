"""Several runs in one picture and one table."""
