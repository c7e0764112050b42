"""What was learned: lessons and knowledge, kept for later experiments."""
