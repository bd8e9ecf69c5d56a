"""Generated text on a terminal: a model of characters can write any of them, escape codes too."""

import re

# C0 but newline and tab, DEL and C1; the invisible marks that reorder what is shown (Unicode UAX #9; Boucher and
# Anderson 2021, "Trojan Source"); lone surrogates, which no terminal can be sent.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""The text with control characters written out, as in \x1b or \u202e; newline and tab stay."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
