"""Moves: a technique applies whole, or refuses and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from novum.benchmarks.moves import (
    Edit,
    SetConstant,
    Technique,
    apply_move,
    constants,
    load_playbook,
    set_constant,
)
from novum.errors import DoesNotApply, PackError
from novum.lab.records import Kind

SOURCE = b'''"""Doc."""
RATE = 1e-3  # tuned
LAYERS: int = 4
OFFSET = -2
FLAG = True
NAME = "x"
TWICE = 1
TWICE = 2
lower = 3


def act(x):
    return gelu(x)
'''


def technique(**fields: object) -> Technique:
    """A technique of the fields that matter to a test."""
    words = dict.fromkeys(("title", "hypothesis", "source", "knowledge"), "-")
    return Technique.model_validate({"id": "t", "kind": Kind.ARCHITECTURE, **words, **fields})


RELU = technique(
    edits=[Edit(find="gelu(x)", any=("silu(x)",), replace="relu(x)")], markers=("relu(x)",)
)


def test_an_edit_replaces_its_passage_or_an_alternative_and_nothing_else() -> None:
    for activation in (b"gelu", b"silu"):
        files = {"train.py": SOURCE.replace(b"gelu", activation), "other.py": b"x = 1\n"}
        changed = apply_move(RELU, files)
        assert changed["train.py"] == SOURCE.replace(b"gelu", b"relu")
        assert changed["other.py"] == b"x = 1\n" and files["train.py"] != changed["train.py"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (SOURCE.replace(b"gelu", b"relu"), "already has it"),
        (SOURCE.replace(b"gelu", b"tanh"), "lacks the passage"),
        (SOURCE + b"y = gelu(x)\n", "occurs 2 times"),
        (b"\xff\xfe" + SOURCE, "not UTF-8"),
    ],
)
def test_a_move_that_does_not_fit_says_why(source: bytes, reason: str) -> None:
    with pytest.raises(DoesNotApply, match=reason):
        apply_move(RELU, {"train.py": source})
    with pytest.raises(DoesNotApply, match=r"no file train\.py"):
        apply_move(RELU, {"model.py": source})


def test_a_result_that_is_not_python_is_refused() -> None:
    broken = technique(edits=[Edit(find="gelu(x)", replace="gelu(x")], markers=("gelu(x",))
    with pytest.raises(DoesNotApply):
        apply_move(broken, {"train.py": SOURCE})
    unclosed = technique(edits=[Edit(find="gelu(x)", replace="new((x)")], markers=("new",))
    with pytest.raises(DoesNotApply, match="would not be Python"):
        apply_move(unclosed, {"train.py": SOURCE})


def test_constants_are_the_single_top_level_numbers() -> None:
    found = {c.name: (c.value, c.line) for c in constants({"a.py": SOURCE, "b.txt": b"X = 1"})}
    assert found == {"RATE": (1e-3, 2), "LAYERS": (4, 3), "OFFSET": (-2, 4)}
    assert constants({"a.py": b"def broken(:\n"}) == []


def test_setting_a_constant_changes_the_number_and_not_a_letter_more() -> None:
    text = SOURCE.decode()
    assert set_constant(text, "RATE", 0.1 + 0.2) == text.replace("1e-3", "0.3")
    assert set_constant(text, "LAYERS", 2) == text.replace("int = 4", "int = 2")
    assert set_constant(text, "OFFSET", 5) == text.replace("-2", "5")
    accents = 'É = "é"; RATE = 1.0  # é\n'
    assert set_constant(accents, "RATE", 2.5) == 'É = "é"; RATE = 2.5  # é\n'
    for absent in ("TWICE", "lower", "FLAG"):
        with pytest.raises(DoesNotApply):
            set_constant(text, absent, 1)


def test_a_factor_keeps_integers_whole_and_stays_within_its_bounds() -> None:
    half = SetConstant(name="LAYERS", factor=0.5, lowest=1)
    files = {"train.py": SOURCE}
    for expected in (2, 1):
        files = apply_move(technique(constants=[half]), files)
        assert f"LAYERS: int = {expected}\n".encode() in files["train.py"]
    with pytest.raises(DoesNotApply, match="changes nothing"):
        apply_move(technique(constants=[half]), files)


def test_an_optional_factor_that_does_not_fit_is_left_out() -> None:
    fewer = SetConstant(name="LAYERS", factor=0.5, lowest=3, optional=True)
    rate = SetConstant(name="RATE", value=0.5)
    changed = apply_move(technique(constants=[fewer, rate]), {"train.py": SOURCE})["train.py"]
    assert b"RATE = 0.5" in changed and b"LAYERS: int = 4" in changed
    with pytest.raises(DoesNotApply):
        apply_move(technique(constants=[fewer]), {"train.py": SOURCE})


def test_a_value_that_is_set_already_is_refused() -> None:
    with pytest.raises(DoesNotApply, match="already"):
        apply_move(
            technique(constants=[SetConstant(name="RATE", value=0.001)]), {"train.py": SOURCE}
        )


@pytest.mark.parametrize(
    "line",
    [
        "colour = 1",
        "kind = 'magic'",
        "constants = [{name = 'X'}]",
        "edits = [{find = '', replace = 'x'}]",
    ],
)
def test_a_malformed_file_of_a_playbook_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.toml").write_text(f"title = 'T'\n{line}\n")
    with pytest.raises(PackError, match=r"bad\.toml"):
        load_playbook(tmp_path)
