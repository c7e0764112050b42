"""Where to search next: policies that choose parents and mode from the findings so far."""
