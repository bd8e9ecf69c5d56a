"""What a text is like before a model is trained on it: its characters, its lines, what it says twice."""
