"""Seeded bugs, kept as patches, that the suite has to catch."""
