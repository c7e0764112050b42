"""A fast GPT for one large GPU: small batches, Muon, sliding windows, value and n-gram tables.

The clock runs from `harness.start()` until the process has ended. Kernels are compiled before it on
dummy tokens; the weights are drawn after it, from a seed that comes with the start. `load()` is
called in a fresh process to grade what was saved, without any compilation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

# Length of the run: optimiser steps, declared before the clock starts
STEPS = 150

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

# Data
BATCH_TOKENS = 131072
MICRO_ROWS = 64

# Optimiser
MUON_LR = 0.04
MUON_MOMENTUM = 0.95
MUON_FIRST_MOMENTUM = 0.85
MOMENTUM_STEPS = 300
EMBEDDING_LR = 0.735
HEAD_LR = 0.0049
SCALAR_LR = 0.5
WEIGHT_DECAY = 0.2

# Schedule, as fractions of the run
WARMUP = 0.0
WARMDOWN = 0.5
FINAL_LR = 0.0

N_HEAD = WIDTH // HEAD_DIM

NGRAM_ROWS = 131072
NGRAM_ORDERS = (2, 3)
NGRAM_LR = 0.22


# Architecture


class Linear(nn.Linear):
    """A matrix kept in float32 and applied in the precision of its input."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


Seen = dict[str, Tensor]
"""What every layer may look at: the tokens and what was made of them, and the angles."""
Mask = BlockMask | Tensor | None


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


HASH_PRIMES = (1000003, 8191003, 15485863, 32452843, 49979687, 67867979)


def ngram_rows(tokens: Tensor, order: int, salt: int) -> Tensor:
    """Row of a table for the last `order` tokens at each place, `(B, T)`."""
    key, before = torch.zeros_like(tokens), tokens
    for i in range(order):
        key = key * HASH_PRIMES[(salt + i) % len(HASH_PRIMES)] + before + 1 + salt * 7919
        before = F.pad(tokens, (i + 1, 0))[:, : tokens.shape[1]]
    key = (key ^ (key >> 17)) * 2654435761
    return ((key ^ (key >> 23)) % NGRAM_ROWS).abs()


def rows_of_layers(tokens: Tensor) -> Tensor:
    """Rows of all tables of every second layer, `(layers, B, T, orders)`."""
    n = len(NGRAM_ORDERS)
    layers = [
        torch.stack([ngram_rows(tokens, o, i * n + j) for j, o in enumerate(NGRAM_ORDERS)], -1)
        for i in range((N_LAYER + 1) // 2)
    ]
    return torch.stack(layers)


def own_rows(seen: Seen, layer: int) -> Seen:
    """What one layer is shown: its own rows only, so that layers of one kind look alike."""
    return seen | {"rows": seen["rows"][layer // 2]}


class Attention(nn.Module):
    """Causal self-attention in a window, with values that also depend on the token alone."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.to_q = Linear(WIDTH, WIDTH)
        self.to_k = Linear(WIDTH, WIDTH)
        self.to_v = Linear(WIDTH, WIDTH)
        self.project = Linear(WIDTH, WIDTH)
        self.has_values = has_value_embedding(layer)
        if self.has_values:
            self.values = nn.Embedding(vocab_size, WIDTH)
            self.value_gate = Linear(GATE_CHANNELS, N_HEAD)
            self.ngrams = nn.ModuleList(nn.Embedding(NGRAM_ROWS, WIDTH) for _ in NGRAM_ORDERS)
            self.ngram_gate = Linear(GATE_CHANNELS, N_HEAD)

    def forward(self, x: Tensor, seen: Seen, mask: Mask) -> Tensor:
        B, T, C = x.shape
        heads = (B, T, N_HEAD, HEAD_DIM)
        q = self.to_q(x).view(heads)
        k = self.to_k(x).view(heads)
        v = self.to_v(x).view(heads)
        if self.has_values:
            gate = 2 * torch.sigmoid(self.value_gate(x[..., :GATE_CHANNELS]))  # (B, T, H)
            v = v + gate[..., None] * self.values(seen["tokens"]).view(heads)
            gate = 2 * torch.sigmoid(self.ngram_gate(x[..., -GATE_CHANNELS:]))
            found = sum(table(seen["rows"][..., i]) for i, table in enumerate(self.ngrams))
            v = v + gate[..., None] * found.view(heads)
        cos, sin = seen["cos"], seen["sin"]
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        y = attend(q, k, v, mask)
        return self.project(y.reshape(B, T, C))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Mix values of `(B, T, H, D)`: all earlier ones, those of a dense mask, or of a block mask."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if isinstance(mask, BlockMask):
        return flex_attention(q, k, v, block_mask=mask).transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2)


class MLP(nn.Module):
    """Two layers on each token, with squared ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = Linear(WIDTH, MLP_RATIO * WIDTH)
        self.project = Linear(MLP_RATIO * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.relu(self.expand(x)).square())


class Block(nn.Module):
    """Attention, then MLP, each added to a mix of the residual stream and the embedding."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.attention = Attention(layer, vocab_size)
        self.mlp = MLP()

    def forward(
        self, x: Tensor, first: Tensor, keep: Tensor, again: Tensor, seen: Seen, mask: Mask
    ) -> Tensor:
        x = keep.to(x.dtype) * x + again.to(x.dtype) * first
        x = x + self.attention(norm(x), seen, mask)
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

    def look(self, tokens: Tensor) -> Seen:
        """What the layers are shown of tokens `(B, T)`."""
        cos, sin = rotary_angles(tokens.shape[1], self.embedding.weight)
        seen = {"tokens": tokens, "cos": cos, "sin": sin}
        seen["rows"] = rows_of_layers(tokens)
        return seen

    def embed(self, seen: Seen) -> Tensor:
        """The residual stream before the first layer, `(B, T, WIDTH)`."""
        x = norm(self.embedding(seen["tokens"]))
        return x

    def trunk(self, seen: Seen, masks: list[Mask]) -> Tensor:
        """The residual stream after the last layer, `(B, T, WIDTH)`."""
        first = self.embed(seen)
        x = first.clone()  # one tensor in two roles would cost the first layer a compilation
        for i, block in enumerate(self.blocks):
            x = block(x, first, self.keep[i], self.again[i], own_rows(seen, i), masks[i])
        return x

    def logits(self, x: Tensor, seen: Seen) -> Tensor:
        """`(B, T, WIDTH)` to float32 logits `(B, T, V)`, capped softly."""
        hidden = norm(x)
        return SOFT_CAP * torch.tanh(self.head(hidden).float() / SOFT_CAP)

    def loss(self, x: Tensor, seen: Seen, targets: Tensor) -> Tensor:
        """Mean cross entropy of the next token."""
        logits = self.logits(x, seen)
        return F.cross_entropy(logits.view(-1, self.vocab_size), targets.reshape(-1))


def rotary_angles(T: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position, `(1, T, 1, HEAD_DIM / 2)`."""
    rates = ROTARY_BASE ** -(torch.arange(0, HEAD_DIM, 2, device=like.device) / HEAD_DIM)
    angles = (torch.arange(T, device=like.device)[:, None] * rates)[None, :, None, :]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def windows() -> list[int | None]:
    """For each layer, how many tokens it sees; `None` for all, as in the last layer."""
    pattern = [WINDOW_PATTERN[i % len(WINDOW_PATTERN)] for i in range(N_LAYER - 1)] + ["L"]
    return [SHORT_WINDOW if p == "S" else None for p in pattern]


def block_masks(T: int, device: str) -> list[Mask]:
    """For each layer, which blocks of earlier tokens it sees; layers of one window share one."""

    def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return q >= k

    def windowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q >= k) & (q - k < SHORT_WINDOW)

    full = create_block_mask(causal, None, None, T, T, device=device)
    short = create_block_mask(windowed, None, None, T, T, device=device)
    return [full if window is None else short for window in windows()]


def dense_masks(T: int, device: str) -> list[Mask]:
    """`block_masks` for attention that is not compiled."""
    place = torch.arange(T, device=device)
    back = place[:, None] - place
    short = (back >= 0) & (back < SHORT_WINDOW)
    return [None if window is None or window >= T else short for window in windows()]


def initialise(model: GPT) -> None:
    """Draw the initial weights; what writes to the residual stream starts at zero."""
    bound = 3**0.5 * WIDTH**-0.5
    for name, p in model.named_parameters():
        if starts_at_zero(name):
            nn.init.zeros_(p)
        elif name == "embedding.weight":
            nn.init.normal_(p)
        elif name == "head.weight":
            nn.init.normal_(p, std=0.001)
        elif p.ndim == 2:
            nn.init.uniform_(p, -bound, bound)
    to_bfloat16(model)


def starts_at_zero(name: str) -> bool:
    """Whether a parameter is zero at first."""
    if ".ngrams." in name or name.endswith("ngram_gate.weight"):
        return True
    return name.endswith(("project.weight", "value_gate.weight"))


def to_bfloat16(model: GPT) -> None:
    """Tables in bfloat16: half the traffic of a lookup."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
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


def muon_step(
    weights: Tensor, grads: Tensor, momentum: Tensor, lr: Tensor, decay: Tensor, beta: Tensor
) -> None:
    """One step on a stack of matrices; decay only where it agrees with the update."""
    momentum.lerp_(grads, 1 - beta)
    direction = orthogonalise(grads.lerp(momentum, beta))
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


FUSED_FROM = 1048576


ROW_TABLE = 16777216


def row_step(p: Tensor, grad: Tensor, mean: Tensor, square: Tensor, lr: Tensor, t: Tensor) -> None:
    """One step of Adam with one second moment a row; `mean` is bfloat16."""
    grad = grad.float()
    first = mean.float().lerp(grad, 1 - 0.8)
    mean.copy_(first)
    square.lerp_(grad.square().mean(-1, keepdim=True), 1 - 0.95)
    step = (first / (1 - 0.8**t)) / ((square / (1 - 0.95**t)).sqrt() + 1e-10)
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
                square = zeros.clone()
                if p.numel() >= ROW_TABLE:
                    zeros, square = torch.zeros_like(p), zeros[:, :1].clone()
                self.adam.append((p, zeros, square, learning_rate(name), rate))
        self.muon = [(ps, torch.stack([p.data for p in ps])) for ps in stacks.values()]
        for ps, stack in self.muon:
            for i, p in enumerate(ps):
                p.data = stack[i]
        self.momenta = [torch.zeros_like(stack) for _, stack in self.muon]
        device = model.head.weight.device
        self.lr, self.decay, self.beta, self.t = (torch.zeros((), device=device) for _ in range(4))
        self.n_steps = 0
        self.muon_step = compiled(muon_step, device)
        self.adam_step = compiled(adam_step, device)
        self.row_step = compiled(row_step, device)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move every parameter by its gradient, with learning rates times `scale`."""
        self.t.add_(1)
        warm = min(1.0, self.n_steps / MOMENTUM_STEPS)
        self.beta.fill_(MUON_FIRST_MOMENTUM + warm * (MUON_MOMENTUM - MUON_FIRST_MOMENTUM))
        self.n_steps += 1
        self.lr.fill_(MUON_LR * scale)
        self.decay.fill_(WEIGHT_DECAY * scale)
        for (ps, stack), momentum in zip(self.muon, self.momenta, strict=True):
            grads = torch.stack([p.grad for p in ps]).float()
            self.muon_step(stack, grads, momentum, self.lr, self.decay, self.beta)
        for p, mean, square, lr, rate in self.adam:
            rate.fill_(lr * scale)
            self.step_of(p)(p.data, p.grad, mean, square, rate, self.t)
            p.grad = None
        for ps, _ in self.muon:
            for p in ps:
                p.grad = None

    def step_of(self, p: Tensor) -> Callable[..., None]:
        """Adam as it suits a parameter: fusing a small one saves less than compiling it takes."""
        if p.numel() >= ROW_TABLE:
            return self.row_step
        return self.adam_step if p.numel() >= FUSED_FROM else adam_step

    def reset(self) -> None:
        """Forget everything: used after the warm-up on dummy data."""
        self.n_steps = 0
        for state in (self.t, *self.momenta, *(s for entry in self.adam for s in entry[1:3])):
            state.zero_()
        for p, *_ in self.adam:
            p.grad = None


def learning_rate(name: str) -> float:
    """Adam's learning rate for a parameter."""
    if ".ngrams." in name:
        return NGRAM_LR
    if "embedding" in name or ".values." in name:
        return EMBEDDING_LR
    if name == "again":
        return SCALAR_LR
    if name == "keep":
        return SCALAR_LR * 0.01
    return HEAD_LR


def compiled(function: Callable[..., None], device: torch.device) -> Callable[..., None]:
    """Fused on a GPU, as it is on a CPU."""
    if device.type == "cpu":
        return function
    return torch.compile(function, dynamic=False, fullgraph=True)


# Training


def lr_scale(progress: float) -> float:
    """Factor on the learning rates: warm-up, constant, then linear to `FINAL_LR`."""
    if progress < WARMUP:
        return progress / WARMUP
    left = max(0.0, 1 - progress) / WARMDOWN
    return min(1.0, left + (1 - left) * FINAL_LR)


def batch_tokens(progress: float) -> int:
    """Tokens of one update."""
    return BATCH_TOKENS


class Rows:
    """Rows of the text as the harness hands them out, one batch a step."""

    def __init__(self, run: harness.Run, device: str) -> None:
        self.run = run
        self.device = device

    def draw(self, n_micro: int) -> list[tuple[Tensor, Tensor]]:
        """The next step's micro-batches: inputs and targets, `(B, T)` each."""
        rows = torch.from_numpy(self.run.rows(n_micro * MICRO_ROWS, CONTEXT).astype("int32"))
        if self.device != "cpu":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        return [(piece[:, :-1], piece[:, 1:]) for piece in rows.long().split(MICRO_ROWS)]


class Trainer:
    """Model, compiled layers and optimiser, ready before the clock starts."""

    def __init__(self, model: GPT, device: str) -> None:
        self.model = model
        self.device = device
        self.masks = dense_masks(CONTEXT, device)
        self.loss = model.loss
        if device != "cpu":
            torch._dynamo.config.recompile_limit = 64  # one per kind of layer or shape
            self.masks = block_masks(CONTEXT, device)
            self.loss = torch.compile(model.loss, dynamic=False)
            for block in model.blocks:
                block.compile(dynamic=False)
        self.optimiser = Optimiser(model)

    def warm_up(self) -> None:
        """Compile everything on dummy tokens, then put back weights and state."""
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        for _ in range(2):
            shape = (MICRO_ROWS, CONTEXT + 1)
            tokens = torch.randint(self.model.vocab_size, shape, device=self.device)
            self.backward(tokens[:, :-1], tokens[:, 1:], 1)
            self.optimiser.step(0.0)
        self.model.load_state_dict(before)
        self.optimiser.reset()

    def backward(self, tokens: Tensor, targets: Tensor, n_micro: int) -> None:
        """Add the gradients of one micro-batch, `(B, T)` each."""
        seen = self.model.look(tokens)
        x = self.model.trunk(seen, self.masks)
        (self.loss(x, seen, targets) / n_micro).backward()

    def update(self, rows: Rows, progress: float) -> None:
        """One update at `progress` in 0..1."""
        n_micro = max(1, batch_tokens(progress) // (MICRO_ROWS * CONTEXT))
        for tokens, targets in rows.draw(n_micro):
            self.backward(tokens, targets, n_micro)
        self.optimiser.step(lr_scale(progress))

    def train(self, run: harness.Run, steps: int) -> None:
        """Take the declared steps, one batch each."""
        rows, queue = Rows(run, self.device), Queue(self.device)
        for step in range(steps):
            self.update(rows, step / steps)
            queue.wait()


class Queue:
    """Keeps the host one step ahead of the GPU: it fetches a batch while the GPU works."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[torch.cuda.Event] = []

    def wait(self) -> None:
        """Mark the end of a step and wait for the one before it."""
        if self.device != "cpu":
            end = torch.cuda.Event()
            end.record()
            self.ends.append(end)
            if len(self.ends) > 1:
                self.ends.pop(0).synchronize()


# Start, save, load


def build(vocab_size: int, seed: int, device: str) -> GPT:
    """A fresh model."""
    torch.manual_seed(seed)
    with torch.device(device):  # large tables are drawn where they will be used
        model = GPT(vocab_size)
        initialise(model)
    return model


def save(model: GPT, folder: Path) -> None:
    """Write the weights, a file each, beside one another, and give the folder its name last."""
    aside = folder / "weights.part"
    aside.mkdir()
    weights = model.state_dict()

    def write(name: str) -> None:
        weights[name].detach().cpu().contiguous().view(torch.uint8).numpy().tofile(aside / name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, weights))
    facts = {"vocab_size": model.vocab_size}
    (aside / "facts.json").write_text(json.dumps(facts))
    os.replace(aside, folder / "weights")


def load(folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """The trained model as a function from tokens `(B, T)` to logits `(B, T, V)`."""
    saved = Path(folder) / "weights"
    with torch.device("meta"):
        model = GPT(json.loads((saved / "facts.json").read_text())["vocab_size"])
    to_bfloat16(model)

    def read(name: str) -> Tensor:
        raw = torch.from_numpy(np.fromfile(saved / name, np.uint8)).to(device)
        return raw.view(shapes[name].dtype).view(shapes[name].shape)

    shapes = model.state_dict()
    with ThreadPoolExecutor(8) as pool:
        weights = dict(zip(shapes, pool.map(read, shapes), strict=True))
    model.load_state_dict(weights, assign=True)
    model.eval()

    @torch.inference_mode()
    def logits(tokens: Tensor) -> Tensor:
        seen = model.look(tokens)
        return model.logits(model.trunk(seen, dense_masks(tokens.shape[1], device)), seen)

    return logits


def main() -> None:
    torch.set_float32_matmul_precision("high")
    info = harness.info()
    steps = harness.declare(STEPS)
    trainer = Trainer(build(info["vocab_size"], 0, info["device"]), info["device"])
    trainer.warm_up()
    run = harness.start()

    torch.manual_seed(run.seed)
    initialise(trainer.model)  # what the warm-up had does not count: the weights are drawn now
    trainer.train(run, steps)
    save(trainer.model, run.output)
    print(f"{steps} steps, {sum(p.numel() for p in trainer.model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
