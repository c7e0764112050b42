"""The chat models that play the roles; the same graph and tools serve all of them."""
