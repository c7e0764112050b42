import torch


def run(a, b):
    gate, h, shift = a, b, 1
    while shift < a.shape[1]:
        older = torch.nn.functional.pad(h[:, :-shift], (0, 0, shift, 0))
        h = h + gate * older
        gate = gate * torch.nn.functional.pad(gate[:, :-shift], (0, 0, shift, 0), value=0.0)
        shift *= 2
    return h
