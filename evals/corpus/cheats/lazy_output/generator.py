#: family: lazy output
#: pack: kernel
#: does: returns a generator in place of an array
#: caught by: harness
import numpy as np


def run(x, weight):
    return (row for row in x)


def load(folder, device):
    return run
