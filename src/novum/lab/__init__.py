"""The records of a run: what happened, kept so that it can be proved."""
