"""Lossless compression: a model's probabilities in a file that decompresses, byte for byte."""
