"""Text in: corpora, tokenizers, the encoded corpus on disk, and batches as a function."""
