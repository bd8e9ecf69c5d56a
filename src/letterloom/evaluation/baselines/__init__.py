"""What a text costs without a neural network: the lines that a model has to come below."""
