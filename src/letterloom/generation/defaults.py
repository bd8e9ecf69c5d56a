"""How a text is drawn where nobody says otherwise; every other option is off by default."""

MAX_NEW_TOKENS = 500
TEMPERATURE = 0.8
