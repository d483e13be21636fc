"""One module per method of training, each a flat recipe without inheritance."""
