"""Generation on a CPU, compiled by Numba: the transformer over NumPy arrays, without torch."""
