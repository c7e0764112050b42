"""A GPT for one GPU, trained as GPT-2 was: learned positions, LayerNorm, GELU, big batches.

The clock runs from `harness.start()` until the last process has ended. The number of steps is
declared before it, each step takes one batch, and the weights are drawn from a seed that comes with
the start. `load()` is called in a fresh process to grade what was saved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import harness
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

# Length of the run: optimiser steps, declared before the clock starts
STEPS = 607

# Model
CONTEXT = 2048
N_LAYER = 8
N_HEAD = 8
WIDTH = 512
MLP_RATIO = 4
INIT_STD = 0.02

# Data: rows of one step (half a million tokens, as GPT-2's), and of one backward pass
BATCH_SIZE = 256
MICRO_SIZE = 64

# Optimiser
LEARNING_RATE = 6e-4
BETA1 = 0.9
BETA2 = 0.95
EPSILON = 1e-8
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0

# Schedule, as fractions of the run
WARMUP = 0.05
FINAL_LR = 0.1


# Architecture


class Norm(nn.Module):
    """Normalise the channels of each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Attention(nn.Module):
    """Causal self-attention with several heads."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.layer = layer
        self.to_q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_k = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_v = nn.Linear(WIDTH, WIDTH, bias=False)
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        B, T, C = x.shape
        heads = (B, T, N_HEAD, C // N_HEAD)

        # Queries and keys
        q = self.to_q(x)
        k = self.to_k(x)
        q, k = q.view(heads), k.view(heads)

        # Values
        v = self.to_v(x)
        v = v.view(heads)

        # Mix
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).reshape(B, T, C)
        return self.project(y)


class MLP(nn.Module):
    """Two layers on each token."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Linear(WIDTH, MLP_RATIO * WIDTH, bias=False)
        self.project = nn.Linear(MLP_RATIO * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = F.gelu(x)
        return self.project(x)


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm1 = Norm(WIDTH)
        self.attention = Attention(layer, vocab_size)
        self.norm2 = Norm(WIDTH)
        self.mlp = MLP()

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), tokens)
        x = x + self.mlp(self.norm2(x))
        return x


class Embedding(nn.Module):
    """Tokens to vectors."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        e = self.token(tokens)
        e = e + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        return e


class Head(nn.Module):
    """Vectors to logits."""

    def __init__(self, embedding: Embedding, vocab_size: int) -> None:
        super().__init__()
        self.norm = Norm(WIDTH)
        self.unembed = nn.Linear(WIDTH, vocab_size, bias=False)
        self.unembed.weight = embedding.token.weight

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        logits = self.unembed(self.norm(x))
        return logits.float()


class GPT(nn.Module):
    """Decoder-only transformer."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = Embedding(vocab_size)
        self.blocks = nn.ModuleList(Block(i, vocab_size) for i in range(N_LAYER))
        self.head = Head(self.embedding, vocab_size)

    def trunk(self, tokens: Tensor) -> Tensor:
        """`(B, T)` to `(B, T, WIDTH)`."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, tokens)
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, T)` to logits `(B, T, V)`."""
        return self.head(self.trunk(tokens), tokens)


def initialise(model: GPT) -> None:
    """Draw the initial weights."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=INIT_STD)
    for block in model.blocks:
        for layer in (block.attention.project, block.mlp.project):
            nn.init.normal_(layer.weight, std=INIT_STD / math.sqrt(2 * N_LAYER))


# Training


def build_optimizers(model: GPT) -> list[torch.optim.Optimizer]:
    """Weight decay on matrices, none on gains and biases."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON)
    optimizers: list[torch.optim.Optimizer] = [adamw]

    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def lr_scale(progress: float) -> float:
    """Factor on the learning rates at `progress` in 0..1."""
    if progress < WARMUP:
        return progress / WARMUP
    done = min(1.0, (progress - WARMUP) / (1 - WARMUP))
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * done))


class Batches:
    """Rows of the text, as the harness hands them out."""

    def __init__(self, run: harness.Run, device: str) -> None:
        self.run = run
        self.device = device

    def draw(self, progress: float) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next step, `(B, T)` each."""
        batch_size = BATCH_SIZE
        context = CONTEXT
        rows = torch.from_numpy(self.run.rows(batch_size, context).astype("int32"))
        rows = rows.to(self.device).long()
        return rows[:, :-1], rows[:, 1:]


def precision(device: str) -> torch.autocast:
    """Matrix products in bfloat16 on a GPU, in float32 on a CPU."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu")


def compute_loss(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of the next token."""
    hidden = model.trunk(inputs)
    logits = model.head(hidden, inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return loss


def update(
    model: GPT,
    optimizers: list[torch.optim.Optimizer],
    batch: tuple[Tensor, Tensor],
    progress: float,
) -> None:
    """One step of training at `progress` in 0..1."""
    pieces = list(zip(*(rows.split(MICRO_SIZE) for rows in batch), strict=True))
    for inputs, targets in pieces:
        with precision(inputs.device.type):
            loss = compute_loss(model, inputs, targets)
        (loss / len(pieces)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * lr_scale(progress)
        optimizer.step()
    model.zero_grad(set_to_none=True)


def train(model: GPT, run: harness.Run, steps: int, device: str) -> None:
    """Take the declared steps, one batch each."""
    optimizers = build_optimizers(model)
    batches = Batches(run, device)
    model.train()
    for step in range(steps):
        progress = step / steps
        update(model, optimizers, batches.draw(progress), progress)


# Start, save, load


def warm_up(model: GPT, device: str, vocab_size: int) -> None:
    """Run each kernel once on dummy tokens, before the clock starts; no weight moves."""
    tokens = torch.randint(vocab_size, (MICRO_SIZE, CONTEXT), device=device)
    with precision(device):
        loss = compute_loss(model, tokens, tokens)
    loss.backward()
    model.zero_grad(set_to_none=True)


def save(model: GPT, vocab_size: int, folder: Path) -> None:
    """Write the checkpoint in one step, so that a deadline never meets half of it."""
    aside = folder / "model.pt.part"
    torch.save({"vocab_size": vocab_size, "weights": model.state_dict()}, aside)
    os.replace(aside, folder / "model.pt")


def load(folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """The trained model as a function from tokens `(B, T)` to logits `(B, T, V)`."""
    saved = torch.load(Path(folder) / "model.pt", map_location=device, weights_only=True)
    model = GPT(saved["vocab_size"]).to(device)
    model.load_state_dict(saved["weights"])
    model.eval()

    @torch.inference_mode()
    def logits(tokens: Tensor) -> Tensor:
        with precision(device):
            return model(tokens)

    return logits


def main() -> None:
    info = harness.info()
    vocab_size, device = info["vocab_size"], info["device"]
    steps = harness.declare(STEPS)
    model = GPT(vocab_size).to(device)
    warm_up(model, device, vocab_size)
    run = harness.start()

    torch.manual_seed(run.seed)
    initialise(model)
    train(model, run, steps, device)
    save(model, vocab_size, run.output)
    print(f"{steps} steps, {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
