"""Before any trial: what a change touches and whether it changes anything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from novum.benchmarks.pack import Manifest, Metric, Pack, Profile
from novum.evals.audit import precheck
from novum.evals.syntax import normal_form
from novum.lab.records import Outcome

TRAIN = """'''A model.'''
import torch
import math

lr = 0.1
torch.manual_seed(42)


def step(x):
    y = x * lr
    return math.exp(y)
"""
START = {"train.py": TRAIN.encode(), "data.py": b"TOKENS = 4096\n"}


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    manifest = Manifest(
        id="tiny",
        title="tiny",
        metric=Metric(name="bpb", better="lower"),
        editable=("train.py", "parts/*.py"),
        default_start="plain",
        profiles={"cpu": Profile(budget_s=1.0)},
    )
    return Pack(tmp_path, manifest)


def outcome_of(pack: Pack, step: str, changes: dict[str, bytes | None]) -> tuple[Outcome, str]:
    files = {k: v for k, v in (START | changes).items() if v is not None}
    record = next(e for e in precheck(pack, files, START, START) if e.step == step)
    return record.outcome, record.summary


def edited(old: str, new: str) -> bytes:
    text = START["train.py"].decode()
    assert old in text
    return text.replace(old, new).encode()


def test_a_change_of_the_editable_file_passes_every_step(pack: Pack) -> None:
    files = START | {"train.py": edited("0.1", "0.2"), "parts/extra.py": b"x = 1\n"}
    assert {e.outcome for e in precheck(pack, files, START, START)} == {Outcome.PASS}


@pytest.mark.parametrize(
    "path",
    [
        "data.py",
        "../train.py",
        "/etc/train.py",
        "parts/../data.py",
        "parts//x.py",
        "parts/\x1b[2Jx.py",
        "parts/torch.py",
        "parts/torch/__init__.py",
        "parts/sitecustomize.py",
        "parts/.hidden.py",
        "parts/tr\u0430in.py",
        "parts/x.pth",
        "-rf.py",
        "parts\\x.py",
    ],
)
def test_a_path_out_of_scope_fails(pack: Pack, path: str) -> None:
    assert outcome_of(pack, "scope", {path: b"x = 1\n"})[0] is Outcome.FAIL


def test_removing_a_file_that_is_not_editable_fails(pack: Pack) -> None:
    assert outcome_of(pack, "scope", {"data.py": None})[0] is Outcome.FAIL


def test_two_names_that_differ_by_case_only_fail(pack: Pack) -> None:
    assert outcome_of(pack, "scope", {"parts/a.py": b"x=1\n", "parts/A.py": b"x=2\n"})[0] is (
        Outcome.FAIL
    )


@pytest.mark.parametrize("width", [60, 20_000])
def test_weights_in_the_source_fail_however_they_are_cut(pack: Pack, width: int) -> None:
    digits = "".join(random.Random(1).choices("0123456789abcdef", k=250_000))
    lines = [f'w{i} = "{digits[i : i + width]}"' for i in range(0, len(digits), width)]
    code, why = outcome_of(pack, "scope", {"train.py": "\n".join(lines).encode()})
    assert code is Outcome.FAIL, why


def test_a_binary_file_fails(pack: Pack) -> None:
    assert outcome_of(pack, "scope", {"parts/x.py": b"\x00\x01"})[0] is Outcome.FAIL


@pytest.mark.parametrize(
    "text",
    [
        edited("import torch\nimport math", "import math\nimport torch  # order"),
        edited("A model.", "Another model, with many words."),
        edited(
            "    y = x * lr\n    return math.exp(y)", "    z = (x *\n  lr)\n    return math.exp(z)"
        ),
        edited("def step(x):", "def step(x: float) -> float:"),
        edited("lr = 0.1", "lr: float = 0.1\nif False:\n    lr = 3"),
        edited("    return math.exp(y)", "    return math.exp(y)\n    lr = 5"),
    ],
)
def test_a_change_of_looks_changes_nothing(pack: Pack, text: bytes) -> None:
    code, why = outcome_of(pack, "change", {"train.py": text})
    assert code is Outcome.FAIL and "does nothing" in why


@pytest.mark.parametrize(
    "text",
    [
        edited("manual_seed(42)", "manual_seed(137)"),
        edited("manual_seed(42)", "manual_seed(42 * 31 + 7)  # better"),
        edited("torch.manual_seed(42)\n", ""),
        edited("torch.manual_seed(42)", "SEED = 9\ntorch.manual_seed(SEED)").replace(
            b"SEED = 9\n", b""
        ),
    ],
)
def test_moving_only_a_seed_is_no_idea(pack: Pack, text: bytes) -> None:
    code, why = outcome_of(pack, "change", {"train.py": text})
    assert code is Outcome.FAIL and "seed" in why


@pytest.mark.parametrize(
    "text",
    [
        edited("lr = 0.1", "lr = 0.2"),
        edited("manual_seed(42)", "manual_seed(7)").replace(b"0.1", b"0.2"),
        edited("x * lr", "lr * x"),
        edited("def step(x):", "def step(x, y=2):"),
    ],
)
def test_a_real_change_passes(pack: Pack, text: bytes) -> None:
    assert outcome_of(pack, "change", {"train.py": text})[0] is Outcome.PASS


def test_annotated_fields_of_a_class_mean_something() -> None:
    one = "class A:\n    x: int = 1\n    y: int\n"
    assert normal_form(one) != normal_form("class A:\n    x: int = 1\n")
    assert normal_form(one) == normal_form(one.replace("int", "float"))


def test_a_file_that_does_not_parse_fails_closed(pack: Pack) -> None:
    assert outcome_of(pack, "rules", {"train.py": b"def f(:\n"})[0] is Outcome.FAIL


def test_a_changed_harness_fails(pack: Pack) -> None:
    files = START | {"train.py": edited("0.1", "0.2")}
    records = precheck(pack, files, START, START, harness_sealed="a", harness_now="b")
    assert [e.outcome for e in records if e.step == "harness"] == [Outcome.FAIL]
