"""Where code runs: the sandbox protocol, its providers, and the executor that owns the slots."""
