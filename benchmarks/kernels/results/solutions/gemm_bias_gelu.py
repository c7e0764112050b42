"""Linear layer with bias and GELU in the epilogue of the vendor's matrix product: no second pass
over the output.
"""

import torch


def run(a, b, bias, c):
    torch.ops.aten._addmm_activation.out(bias, a, b.T, use_gelu=True, out=c)
