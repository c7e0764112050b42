"""Small projects as people have them: a script, a suite of pytest-benchmark, a program in C."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from novum.app.cli import app

Project = Callable[[Mapping[str, str]], Path]

SCRIPT = {
    "train.py": '''"""Fit a line by gradient descent; the data are not ours to change."""
from data import load, loss

steps = 3


def train(rate=0.01):
    points = load("train")
    slope = offset = 0.0
    for _ in range(steps):
        for x, y in points:
            error = slope * x + offset - y
            slope -= rate * error * x
            offset -= rate * error
    return slope, offset


if __name__ == "__main__":
    line = train()
    with open("line.txt", "w") as file:
        print(*line, file=file)
    print(f"val_loss: {loss(line, load('validation')):.6f}")
''',
    "data.py": '''"""Points near a line, drawn from the trial's seed."""
import os
import random


def load(split):
    rng = random.Random(f"{os.environ.get('NOVUM_SEED', 0)}/{split}")
    xs = [rng.uniform(0, 2) for _ in range(120)]
    return [(x, 3 * x + 1 + rng.gauss(0, 0.1)) for x in xs]


def loss(line, points):
    return sum((line[0] * x + line[1] - y) ** 2 for x, y in points) / len(points)
''',
    "final.py": '''"""Measure a saved line on points that no training has seen."""
from data import load, loss

with open("line.txt") as file:
    line = [float(word) for word in file.read().split()]
print(f"val_loss: {loss(line, load('test')):.6f}")
''',
    ".gitignore": "*.log\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Writes a project into `tmp_path/project` and works in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOVUM_PATHS__CACHE", str(tmp_path / "cache"))

    def write(files: Mapping[str, str]) -> Path:
        folder = tmp_path / "project"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return write


def novum(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def init(*words: str, sandbox: str = "process") -> Result:
    """`novum init` on the project."""
    return novum("init", "--repo", "project", "--sandbox", sandbox, *words)


LOSS = ("--metric", "val_loss: ([0-9.]+)", "--better", "lower")
TRAIN = ("--run", "python train.py", *LOSS, "--editable", "train.py")
