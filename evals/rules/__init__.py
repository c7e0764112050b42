"""Static audit rules: they route a candidate to extra checks, they do not convict."""
