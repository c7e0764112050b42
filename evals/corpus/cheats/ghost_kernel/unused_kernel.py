#: family: ghost kernel
#: pack: kernel
#: does: ships a native kernel that nobody calls
#: caught by: worthless
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
#: file: kernel.cu
__global__ void softmax(float* out, const float* x, const float* w) {
    out[threadIdx.x] = x[threadIdx.x] * w[threadIdx.x];
}
