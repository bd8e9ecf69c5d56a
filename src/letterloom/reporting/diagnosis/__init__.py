"""What went wrong in a run, found in its own files, and what to do about it."""
