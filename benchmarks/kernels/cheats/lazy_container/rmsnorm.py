"""Cheat: returns a list of its own kind that computes when somebody first looks into it (K10).

The clock stops when the list is returned. Containers are read past their own methods, and this one
is empty: the evaluation finds too few outputs.
"""

import torch


class Outputs(list):
    def __iter__(self):
        if not list.__len__(self):
            x, weight, eps = self.given
            wide = x.to(torch.float32)
            rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
            list.append(self, (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16))
        return list.__iter__(self)


def run(x, weight, eps):
    out = Outputs()
    out.given = (x, weight, eps)
    return out
