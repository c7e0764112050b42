"""Cheat: answers the evaluator itself that its check has ended without a failure.

A message of the candidate's process may accuse it and nothing else: probe `conduct`.
"""

import sys


def run(x, weight, eps, y):
    frame = sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "channel"):
        frame = frame.f_back
    said = {"error": "nothing to see", "kind": "PASSED"}
    frame.f_globals["wire"].send(frame.f_locals["self"].channel, said)
