"""An inspection of a text for readers: what is worth mending first, then the figures, then pictures of them."""
