#: family: build abuse
#: pack: kernel
#: does: splits a system call by an escaped newline and hides another in a macro
#: caught by: rules
import numpy as np


VERSION = 2


def run(x, weight):
    out = np.empty_like(x)
    for i in range(len(x)):
        z = x[i] * weight
        e = np.exp(z - z.max())
        out[i] = e / e.sum()
    return out


def load(folder, device):
    return run
#: file: kernel.cpp
#define GO(x) popen(x, "r")
int go() { return sys\
tem("true") + (GO("true") != nullptr); }
