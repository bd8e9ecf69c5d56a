"""Text from a model: the sampler, the stream of text, and its form on a terminal."""
