# ruff: noqa: RUF001 (Greek letters are meant)
"""A text to finetune on: Greek, of which a model of English knows the blanks alone."""

import random

ARTICLES = {"m": "ο", "f": "η", "n": "το"}
NOUNS = {
    "m": ("αργαλειός", "δρόμος", "ήλιος", "ποταμός", "γέροντας", "άνεμος"),
    "f": ("κλωστή", "θάλασσα", "νύχτα", "γυναίκα", "πόλη", "λέξη"),
    "n": ("γράμμα", "ύφασμα", "βιβλίο", "παιδί", "νησί", "χωριό"),
}
ADJECTIVES = {
    "m": ("μικρός", "παλιός", "μεγάλος", "ήσυχος", "ωραίος"),
    "f": ("μικρή", "παλιά", "μεγάλη", "ήσυχη", "ωραία"),
    "n": ("μικρό", "παλιό", "μεγάλο", "ήσυχο", "ωραίο"),
}
VERBS = ("υφαίνει", "φέρνει", "ξεχνάει", "διαβάζει", "ψάχνει", "βλέπει", "θυμάται")
OBJECTS = ("τον κόσμο", "την ψυχή", "το νερό", "τη σιωπή", "το φως", "τα όνειρα", "την ώρα")
ENDS = (".", "·", ";", ", και όχι πια.")


def greek_lines(count: int) -> list[str]:
    """So many different sentences of a small grammar, in real Greek letters."""
    draw, lines = random.Random(0), dict[str, None]()
    while len(lines) < count:
        gender = draw.choice("mfn")
        words = [ARTICLES[gender], draw.choice(ADJECTIVES[gender]), draw.choice(NOUNS[gender]), draw.choice(VERBS)]
        sentence = " ".join([*words, draw.choice(OBJECTS)]) + draw.choice(ENDS)
        lines[sentence[0].upper() + sentence[1:]] = None
    return list(lines)
