"""A surrogate of a real benchmark: measured sets of techniques, and a model of them."""
