"""Questions that graders put to a delivered artifact: pure functions over a callable."""
