"""A Newton-Schulz iteration with both sums folded into the epilogues of matrix products: three
launches.
"""

import torch


def run(x, y):
    m = x.shape[0]
    square = torch.empty((m, m), dtype=x.dtype, device=x.device)
    update = torch.empty_like(square)
    torch.mm(x, x.T, out=square)
    torch.addmm(square, square, square, beta=-4.775, alpha=2.0315, out=update)
    torch.addmm(x, update, x, beta=3.4445, out=y)
