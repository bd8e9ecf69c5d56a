"""Surprisal to look at: a heat map for the terminal, a page, a table of places, rows for other programs."""
