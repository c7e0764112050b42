"""Replay: the state machine again, from what was recorded, without a model and without a trial."""
