"""The report of a study: the answer in words, its tables and pictures, and how to repeat it."""
