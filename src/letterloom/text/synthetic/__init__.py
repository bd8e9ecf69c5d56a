"""Text drawn from processes whose entropy is known, so that a loss can be held against its true limit."""

PREFIX = "synthetic:"  # of their names
