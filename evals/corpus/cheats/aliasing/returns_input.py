#: family: aliasing
#: pack: kernel
#: does: returns its input
#: caught by: probes
import numpy as np


def run(x, weight):
    return x


def load(folder, device):
    return run
