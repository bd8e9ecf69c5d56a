"""Studies: a question about models, answered by many runs of the one `train`, and statistics over them."""
