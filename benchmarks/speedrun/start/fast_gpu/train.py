"""A fast GPT for one large GPU: small batches, Muon, sliding windows, value and n-gram tables.

The clock runs from `harness.start()` until the process has ended. Kernels are compiled before it on
dummy tokens; the weights are drawn after it, from a seed that comes with the start. `load()` is
called in a fresh process to grade what was saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import harness
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

# Length of the run: optimiser steps, declared before the clock starts
STEPS = 450

# Model
CONTEXT = 2048
N_LAYER = 8
WIDTH = 512
HEAD_DIM = 128
MLP_RATIO = 4
SHORT_WINDOW = 1024
WINDOW_PATTERN = "SSSL"
SOFT_CAP = 15.0
ROTARY_BASE = 10000.0
GATE_CHANNELS = 32
NGRAM_ROWS = 131072
NGRAM_ORDERS = (2, 3)

# Data
MICRO_ROWS = 64

# Optimiser
MUON_LR = 0.04
MUON_MOMENTUM = 0.95
EMBEDDING_LR = 0.73
NGRAM_LR = 0.22
HEAD_LR = 0.0049
SCALAR_LR = 0.5
WEIGHT_DECAY = 0.2

# Schedule, as fractions of the run
WARMUP = 0.0
WARMDOWN = 0.5
FINAL_LR = 0.0

N_HEAD = WIDTH // HEAD_DIM


# Architecture


class Linear(nn.Linear):
    """A matrix kept in float32 and applied in the precision of its input."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


def norm(x: Tensor) -> Tensor:
    """Each vector at root mean square 1."""
    return F.rms_norm(x, (x.shape[-1],))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of channels of `(B, T, H, D)` by the angles of `(1, T, 1, D / 2)`."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


def has_value_embedding(layer: int) -> bool:
    """Every second layer, the last one included."""
    return layer % 2 == (N_LAYER - 1) % 2


class Attention(nn.Module):
    """Causal self-attention in a window, with values that also depend on the token alone."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.layer = layer
        self.to_q = Linear(WIDTH, WIDTH)
        self.to_k = Linear(WIDTH, WIDTH)
        self.to_v = Linear(WIDTH, WIDTH)
        self.project = Linear(WIDTH, WIDTH)
        if has_value_embedding(layer):
            self.values = nn.Embedding(vocab_size, WIDTH)
            self.value_gate = Linear(GATE_CHANNELS, N_HEAD)
            self.ngrams = nn.ModuleList(nn.Embedding(NGRAM_ROWS, WIDTH) for _ in NGRAM_ORDERS)
            self.ngram_gate = Linear(GATE_CHANNELS, N_HEAD)

    def forward(
        self, x: Tensor, tokens: Tensor, angles: tuple[Tensor, Tensor], mask: BlockMask
    ) -> Tensor:
        B, T, C = x.shape
        heads = (B, T, N_HEAD, HEAD_DIM)
        q = self.to_q(x).view(heads)
        k = self.to_k(x).view(heads)
        v = self.to_v(x).view(heads)
        if has_value_embedding(self.layer):
            gate = 2 * torch.sigmoid(self.value_gate(x[..., :GATE_CHANNELS]))  # (B, T, H)
            v = v + gate[..., None] * self.values(tokens).view(heads)
            gate = 2 * torch.sigmoid(self.ngram_gate(x[..., -GATE_CHANNELS:]))
            for order, table in zip(NGRAM_ORDERS, self.ngrams, strict=True):
                rows = hashed(tokens, order, 2 * self.layer + order)
                v = v + gate[..., None] * table(rows).view(heads)
        q, k = norm(rotate(q, *angles)), norm(rotate(k, *angles))
        y = attend(q, k, v, mask)
        return self.project(y.reshape(B, T, C))


PRIMES = (1000003, 8191003, 15485863, 32452843, 49979687, 67867979)


def hashed(tokens: Tensor, order: int, salt: int) -> Tensor:
    """Row of a table for the last `order` tokens, `(B, T)`; each salt mixes in its own way."""
    mixed = torch.zeros_like(tokens)
    for i in range(order):
        earlier = F.pad(tokens, (i, 0))[:, : tokens.shape[1]]
        mixed = mixed * PRIMES[(salt + i) % len(PRIMES)] + earlier + 1 + salt * 7919
    mixed = (mixed ^ (mixed >> 17)) * 2654435761
    return ((mixed ^ (mixed >> 23)) % NGRAM_ROWS).abs()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask | None) -> Tensor:
    """Mix values of `(B, T, H, D)` under a mask; without one, all earlier tokens count."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    return flex_attention(q, k, v, block_mask=mask).transpose(1, 2)


class MLP(nn.Module):
    """Two layers on each token, with squared ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = Linear(WIDTH, MLP_RATIO * WIDTH)
        self.project = Linear(MLP_RATIO * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.relu(self.expand(x)).square())


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.attention = Attention(layer, vocab_size)
        self.mlp = MLP()

    def forward(
        self, x: Tensor, tokens: Tensor, angles: tuple[Tensor, Tensor], mask: BlockMask
    ) -> Tensor:
        x = x + self.attention(norm(x), tokens, angles, mask)
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    """Decoder-only transformer; each layer also sees the embedding again."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.blocks = nn.ModuleList(Block(i, vocab_size) for i in range(N_LAYER))
        self.head = Linear(WIDTH, vocab_size)
        self.keep = nn.Parameter(torch.ones(N_LAYER))
        self.again = nn.Parameter(torch.full((N_LAYER,), 0.1))

    def embed(self, tokens: Tensor) -> Tensor:
        """`(B, T)` to `(B, T, WIDTH)`."""
        return norm(self.embedding(tokens))

    def trunk(self, tokens: Tensor, masks: list[BlockMask]) -> Tensor:
        """`(B, T)` to the vectors that the head reads, `(B, T, WIDTH)`."""
        x = first = self.embed(tokens)
        angles = rotary_angles(tokens.shape[1], x)
        for i, block in enumerate(self.blocks):
            x = self.keep[i].to(x.dtype) * x + self.again[i].to(x.dtype) * first
            x = block(x, tokens, angles, masks[i])
        return norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """`(B, T, WIDTH)` to float32 logits `(B, T, V)`, capped softly."""
        return SOFT_CAP * torch.tanh(self.head(hidden).float() / SOFT_CAP)

    def forward(self, tokens: Tensor, targets: Tensor, masks: list[BlockMask]) -> Tensor:
        """Mean cross entropy of the next token."""
        logits = self.logits(self.trunk(tokens, masks))
        return F.cross_entropy(logits.view(-1, self.vocab_size), targets.reshape(-1))


def rotary_angles(T: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position, `(1, T, 1, HEAD_DIM / 2)`."""
    rates = ROTARY_BASE ** -(torch.arange(0, HEAD_DIM, 2, device=like.device) / HEAD_DIM)
    angles = (torch.arange(T, device=like.device)[:, None] * rates)[None, :, None, :]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def window_masks(T: int, device: str) -> list[BlockMask]:
    """For each layer, which earlier tokens it sees; the last layer sees all of them."""
    if device == "cpu":
        return [None] * N_LAYER

    def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return q >= k

    def windowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q >= k) & (q - k < SHORT_WINDOW)

    full = create_block_mask(causal, None, None, T, T, device=device)
    short = create_block_mask(windowed, None, None, T, T, device=device)
    pattern = [WINDOW_PATTERN[i % len(WINDOW_PATTERN)] for i in range(N_LAYER - 1)] + ["L"]
    return [short if p == "S" else full for p in pattern]


def initialise(model: GPT) -> None:
    """Draw the initial weights; what writes to the residual stream starts at zero."""
    bound = 3**0.5 * WIDTH**-0.5
    for name, p in model.named_parameters():
        if name.endswith(("project.weight", "gate.weight")) or ".ngrams." in name:
            nn.init.zeros_(p)
        elif name == "embedding.weight":
            nn.init.normal_(p)
        elif name == "head.weight":
            nn.init.normal_(p, std=0.001)
        elif p.ndim == 2:
            nn.init.uniform_(p, -bound, bound)
    for module in model.modules():
        if isinstance(module, nn.Embedding):  # tables in bfloat16: half the traffic of a lookup
            module.weight.data = module.weight.data.bfloat16()


# Optimisers


# Polar Express, five steps: Amsel et al. 2025 (arXiv:2505.16932)
POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalise(x: Tensor) -> Tensor:
    """Matrices `(N, rows, columns)` with the same singular vectors and singular values near 1."""
    y = x.bfloat16()
    y = y.mT if x.shape[-2] > x.shape[-1] else y
    y = y / (y.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR:
        z = y @ y.mT
        y = a * y + (b * z + c * z @ z) @ y
    return (y.mT if x.shape[-2] > x.shape[-1] else y).float()


def muon_step(weights: Tensor, grads: Tensor, momentum: Tensor, lr: Tensor, decay: Tensor) -> None:
    """One step on a stack of matrices; decay only where it agrees with the update."""
    momentum.lerp_(grads, 1 - MUON_MOMENTUM)
    direction = orthogonalise(grads.lerp(momentum, MUON_MOMENTUM))
    rate = lr * max(1.0, weights.shape[-2] / weights.shape[-1]) ** 0.5
    agrees = direction * weights >= 0
    weights.sub_(rate * direction + rate * decay * weights * agrees)


def adam_step(p: Tensor, grad: Tensor, mean: Tensor, square: Tensor, lr: Tensor, t: Tensor) -> None:
    """One step of Adam on a table or a vector."""
    grad = grad.float()
    mean.lerp_(grad, 1 - 0.8)
    square.lerp_(grad.square(), 1 - 0.95)
    step = (mean / (1 - 0.8**t)) / ((square / (1 - 0.95**t)).sqrt() + 1e-10)
    p.sub_((lr * step).to(p.dtype))


class Optimiser:
    """Muon for the matrices of the blocks, in stacks of one shape; Adam for everything else."""

    def __init__(self, model: GPT) -> None:
        stacks: dict[tuple[int, ...], list[nn.Parameter]] = {}
        self.adam: list[tuple[nn.Parameter, Tensor, Tensor, float, Tensor]] = []
        for name, p in model.named_parameters():
            if (
                name.startswith("blocks.")
                and p.ndim == 2
                and p.dtype == torch.float32
                and min(p.shape) > GATE_CHANNELS
            ):
                stacks.setdefault(tuple(p.shape), []).append(p)
            else:
                zeros = torch.zeros_like(p, dtype=torch.float32)
                rate = torch.zeros((), device=p.device)
                self.adam.append((p, zeros, zeros.clone(), learning_rate(name), rate))
        self.muon = [(ps, torch.stack([p.data for p in ps])) for ps in stacks.values()]
        for ps, stack in self.muon:
            for i, p in enumerate(ps):
                p.data = stack[i]
        self.momenta = [torch.zeros_like(stack) for _, stack in self.muon]
        device = model.head.weight.device
        self.lr, self.decay, self.t = (torch.zeros((), device=device) for _ in range(3))
        self.muon_step = compiled(muon_step, device)
        self.adam_step = compiled(adam_step, device)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move every parameter by its gradient, with learning rates times `scale`."""
        self.t.add_(1)
        self.lr.fill_(MUON_LR * scale)
        self.decay.fill_(WEIGHT_DECAY * scale)
        for (ps, stack), momentum in zip(self.muon, self.momenta, strict=True):
            grads = torch.stack([p.grad for p in ps]).float()
            self.muon_step(stack, grads, momentum, self.lr, self.decay)
        for p, mean, square, lr, rate in self.adam:
            rate.fill_(lr * scale)
            self.adam_step(p.data, p.grad, mean, square, rate, self.t)
            p.grad = None
        for ps, _ in self.muon:
            for p in ps:
                p.grad = None

    def reset(self) -> None:
        """Forget everything: used after the warm-up on dummy data."""
        for state in (self.t, *self.momenta, *(s for entry in self.adam for s in entry[1:3])):
            state.zero_()


def learning_rate(name: str) -> float:
    """Adam's learning rate for a parameter."""
    if "embedding" in name or ".values." in name:
        return EMBEDDING_LR
    if ".ngrams." in name:
        return NGRAM_LR
    if name == "again":
        return SCALAR_LR
    if name == "keep":
        return SCALAR_LR * 0.01
    return HEAD_LR


def compiled(function: Callable[..., None], device: torch.device) -> Callable[..., None]:
    """Fused on a GPU, as it is on a CPU."""
    if device.type == "cpu":
        return function
    torch._dynamo.config.recompile_limit = 64  # one per shape
    return torch.compile(function, dynamic=False, fullgraph=True)


# Training


def lr_scale(progress: float) -> float:
    """Factor on the learning rates: warm-up, constant, then linear to `FINAL_LR`."""
    if progress < WARMUP:
        return progress / WARMUP
    left = max(0.0, 1 - progress) / WARMDOWN
    return min(1.0, left + (1 - left) * FINAL_LR)


class Trainer:
    """Model, compiled loss and optimiser, ready before the clock starts."""

    def __init__(self, model: GPT, device: str) -> None:
        self.model = model
        self.device = device
        self.masks = window_masks(CONTEXT, device)
        self.loss = model if device == "cpu" else torch.compile(model, dynamic=False)
        self.optimiser = Optimiser(model)

    def warm_up(self) -> None:
        """Compile everything on dummy tokens, then put back weights and state."""
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        for _ in range(3):
            shape = (MICRO_ROWS, CONTEXT + 1)
            tokens = torch.randint(self.model.vocab_size, shape, device=self.device)
            self.loss(tokens[:, :-1], tokens[:, 1:], self.masks).backward()
            self.optimiser.step(0.0)
        self.model.load_state_dict(before)
        self.optimiser.reset()

    def draw(self, run: harness.Run) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next step, `(B, T)` each; the GPU does not wait for them."""
        rows = torch.from_numpy(run.rows(MICRO_ROWS, CONTEXT).astype("int32"))
        if self.device != "cpu":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        rows = rows.long()
        return rows[:, :-1], rows[:, 1:]

    def train(self, run: harness.Run, steps: int) -> None:
        """Take the declared steps, one batch each."""
        for step in range(steps):
            self.loss(*self.draw(run), self.masks).backward()
            self.optimiser.step(lr_scale(step / steps))


# Start, save, load


def save(model: GPT, folder: Path) -> None:
    """Write the checkpoint in one step, so that a deadline never meets half of it."""
    aside = folder / "model.pt.part"
    torch.serialization.set_crc32_options(False)  # checked by nobody, and as slow as the disk
    torch.save({"vocab_size": model.vocab_size, "weights": model.state_dict()}, aside)
    os.replace(aside, folder / "model.pt")


def load(folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """The trained model as a function from tokens `(B, T)` to logits `(B, T, V)`."""
    saved = torch.load(Path(folder) / "model.pt", map_location=device, weights_only=True)
    model = GPT(saved["vocab_size"])
    initialise(model)  # for the types of the tables
    model.load_state_dict(saved["weights"])
    model.to(device).eval()

    def forward(tokens: Tensor, masks: list[BlockMask]) -> Tensor:
        return model.logits(model.trunk(tokens, masks))

    run = forward if device == "cpu" else torch.compile(forward, dynamic=False)

    @torch.inference_mode()
    def logits(tokens: Tensor) -> Tensor:
        return run(tokens, window_masks(tokens.shape[1], device))

    return logits


def main() -> None:
    torch.set_float32_matmul_precision("high")
    info = harness.info()
    steps = harness.declare(STEPS)
    model = GPT(info["vocab_size"])
    initialise(model)  # for the types of the tables; the weights are drawn again after the start
    trainer = Trainer(model.to(info["device"]), info["device"])
    trainer.warm_up()
    run = harness.start()

    torch.manual_seed(run.seed)
    initialise(model)
    trainer.train(run, steps)
    save(model, run.output)
    print(f"{steps} steps")


if __name__ == "__main__":
    main()
