"""Named numbers of any file, and what the audit makes of whole projects and printed metrics."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from novum.agents.design import certification_trials
from novum.benchmarks.numbers import Named, named_numbers, set_number
from novum.errors import DoesNotApply
from novum.evals.audit import judge
from novum.evals.checks.scope import MAX_ADDED_BYTES, added_bytes
from novum.evals.rehearsal import Builder
from novum.evals.rules.scan import scan
from novum.evals.significance import NoiseModel
from novum.lab.records import Label, Purpose

FILES = {
    "train.py": b"""import argparse
SEED = 7
width: int = 64
PAIR = (1, 2)
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=3e-4)
settings = {"dropout": 0.1, "name": "x"}


def fit(depth, beta=0.9, *, steps=200, flag=True):
    temperature = -1.5
    return layer(beta=0.5)
""",
    "kernel.cu": b"#define BLOCK 128  // threads\n#define F(x) 3\nstatic const float EPS = 1e-5f;\n"
    b"constexpr unsigned int TILE = 16;\nint x = 3;\n#define MODE 0644\n",
    "conf.toml": b'batch = 32 # rows\nname = "b"\n[a]\nrate = 0.5\n',
    "notes.txt": b"width = 3\n",
}


def test_named_numbers_are_found_in_python_c_and_settings() -> None:
    found = {(n.file, n.name): n.value for n in named_numbers(FILES)}
    assert found == {
        ("train.py", "width"): 64,
        ("train.py", "train.py:rate"): 3e-4,
        ("train.py", "dropout"): 0.1,
        ("train.py", "beta"): 0.9,
        ("train.py", "beta#2"): 0.5,
        ("train.py", "steps"): 200,
        ("train.py", "temperature"): -1.5,
        ("kernel.cu", "BLOCK"): 128,
        ("kernel.cu", "EPS"): 1e-5,
        ("kernel.cu", "TILE"): 16,
        ("conf.toml", "batch"): 32,
        ("conf.toml", "conf.toml:rate"): 0.5,
    }


@pytest.mark.parametrize("number", named_numbers(FILES), ids=lambda n: f"{n.file}-{n.name}")
def test_setting_a_number_changes_it_and_nothing_else(number: Named) -> None:
    new = number.value * 2
    changed = set_number(FILES, number.name, new)
    assert [k for k in FILES if changed[k] != FILES[k]] == [number.file]
    before, after = named_numbers(FILES), named_numbers(changed)
    assert [(n.name, n.line) for n in before] == [(n.name, n.line) for n in after]
    assert [a.value for a, b in zip(after, before, strict=True) if a.value != b.value] == [new]


def test_a_number_that_is_not_there_does_not_apply() -> None:
    with pytest.raises(DoesNotApply, match="no number named height"):
        set_number(FILES, "height", 3)


def printed(values: list[float], *, self_reported: bool = True) -> Builder:
    b = Builder().baseline().add("cand", Purpose.SEARCH, values[:1]).race(values[1:])
    b.facts = replace(b.facts, terms=replace(b.facts.terms, self_reported=self_reported))
    return b


def test_a_printed_metric_that_never_varies_is_quarantined_where_the_reference_does() -> None:
    judgement = judge(printed([1.8] * 5).facts)
    assert judgement.verdict is not None and judgement.verdict.label is Label.QUARANTINED
    assert "5 trials of different seeds report 1.8 to the last digit" in judgement.verdict.reason
    measured = judge(printed([1.8] * 5, self_reported=False).facts).verdict
    assert measured is not None and measured.label is Label.PROMISING


def test_a_good_verdict_on_a_printed_metric_says_so_in_its_reason() -> None:
    verdict = judge(printed([1.8, 1.8, 1.81, 1.79, 1.8]).facts).verdict
    assert verdict is not None and verdict.label is Label.PROMISING
    assert verdict.reason.endswith("the metric is self-reported")


def test_a_small_change_of_a_large_file_adds_little_and_data_in_it_adds_all() -> None:
    rng = random.Random(1)
    lines = [f"x{i} = {rng.getrandbits(256)}" for i in range(2500)]
    start = {"big.py": "\n".join(lines).encode()}
    lines[1200] = "x1200 = 3"
    assert added_bytes({"big.py": "\n".join(lines).encode()}, start) < 100
    lines[1200:1200] = [f"y{i} = {rng.getrandbits(256)}" for i in range(1500)]
    assert added_bytes({"big.py": "\n".join(lines).encode()}, start) > MAX_ADDED_BYTES


def test_a_file_that_never_was_python_3_is_no_hit_until_it_is_edited() -> None:
    start = {"old.py": b"print 'hello'\n", "new.py": b"x = 1\n"}
    assert scan(start | {"new.py": b"x = 2\n"}, start) == []
    assert [h.rule for h in scan(start | {"old.py": b"print 'bye'\n"}, start)] == ["unreadable"]


def test_of_a_large_project_only_what_changed_is_read_and_still_found() -> None:
    start = {"big.py": b"# " + b"x" * 300_000, "own.py": b"x = 1\n", "sys.py": b"eval('1')\n"}
    assert scan(start | {"own.py": b"x = 2\n"}, start) == []
    hits = scan(start | {"own.py": b"open('/etc/passwd')\n"}, start)
    assert {h.path for h in hits} == {"own.py"}


def test_a_metric_without_noise_needs_the_fewest_trials() -> None:
    assert certification_trials(0.1, NoiseModel.from_arms([[1.0, 1.0, 1.0]]), 0.01, (2, 4, 8)) == 2
