"""Make a trained model yours: another text, other characters, a longer context, narrower numbers."""
