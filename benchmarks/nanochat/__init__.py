"""The nanochat pack: the lowest bits per byte of a small language model in a fixed budget."""
