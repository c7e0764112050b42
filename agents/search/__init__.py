"""Search policies: which candidates to start from and which kind of idea to try next."""
