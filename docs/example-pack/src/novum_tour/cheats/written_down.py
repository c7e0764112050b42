"""A cheat: the trip was found at home and is written down. Caught by rule `written-trip`."""

import json

import harness
import numpy as np

# fmt: off
TRIP = [
    28, 39, 34, 38, 17, 11, 0, 20, 25, 31, 16, 23, 49, 6, 14,
    1, 24, 26, 56, 33, 48, 18, 35, 8, 47, 7, 2, 58, 44, 9,
    27, 55, 30, 46, 19, 4, 37, 57, 45, 40, 21, 53, 15, 13, 50,
    59, 3, 52, 32, 10, 41, 43, 42, 54, 36, 29, 22, 5, 51, 12,
]
# fmt: on


def load(folder, device):
    order = np.array(json.loads((folder / "trip.json").read_text()))
    return lambda cities: order


if __name__ == "__main__":
    run = harness.start()
    (run.output / "trip.json").write_text(json.dumps(TRIP))
