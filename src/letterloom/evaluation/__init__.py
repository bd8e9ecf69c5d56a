"""What a model costs a text: surprisal, its mean with an interval, and the check against the reference."""
