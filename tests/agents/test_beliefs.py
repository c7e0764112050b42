"""What was learned is kept beside the ledger, and decides nothing that the ledger does not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from novum.agents import beliefs, research
from novum.agents.lab import Lab
from novum.agents.plain import Plain
from novum.agents.research import work
from novum.agents.search.effects import Effects

GIVEN = {"policy": "frontier", "budget": {"experiments": 5}}
MORE = {"policy": "frontier", "budget": {"experiments": 8}}
Compare = Callable[[Lab], list[str]]


def kept(lab: Lab) -> Path:
    return lab.run.path / beliefs.NAME


@pytest.fixture
async def lab(make_lab: Any) -> Lab:
    """A lab whose beliefs are kept, after a few ideas."""
    made: Lab = make_lab(**GIVEN)
    await work(made, 2)
    beliefs.keep(made)
    return made


async def test_a_resumed_run_goes_on_with_what_was_kept_as_if_it_had_learned_it(
    make_lab: Any, as_recorded: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kept in the middle of the search, with other threads at work, and events after it.
    n_kept = 0

    def keep_the_third(lab: Lab) -> None:
        nonlocal n_kept
        n_kept += 1
        if n_kept == 3:
            beliefs.keep(lab)

    lab = make_lab(**GIVEN)
    with monkeypatch.context() as patch:
        patch.setattr(research, "keep_if_due", keep_the_third)
        await work(lab, 2)
    assert lab.n_kept
    n_kept, n_closed = lab.n_kept, lab.findings.n_closed
    assert n_kept < n_closed
    lab = make_lab(**MORE)
    assert (lab.n_kept, lab.findings.n_closed) == (n_kept, n_closed)
    assert type(lab.findings.effects) is Effects and not as_recorded(lab)
    await work(lab, 2)
    assert lab.findings.n_closed > n_closed and not as_recorded(lab)


async def test_what_is_believed_is_the_same_to_the_layout_of_its_arrays(
    lab: Lab, make_lab: Any
) -> None:
    before = lab.findings.effects
    again = make_lab(**GIVEN)
    assert again.n_kept
    for a, b in (
        (before._joint.cov, again.findings.effects._joint.cov),
        (before._joint.mean, again.findings.effects._joint.mean),
    ):
        assert np.array_equal(a, b) and a.strides == b.strides and b.flags.writeable


def damage(lab: Lab) -> None:
    content = bytearray(kept(lab).read_bytes())
    content[len(content) // 2] ^= 1
    kept(lab).write_bytes(content)


def cut(lab: Lab) -> None:
    kept(lab).write_bytes(kept(lab).read_bytes()[:-100])


def edit(lab: Lab, change: Callable[[Any], None]) -> None:
    """As whoever knows the run's nonce can."""
    body = json.loads(kept(lab).read_bytes().partition(b"\n")[2])
    change(body)
    text = json.dumps(body).encode()
    kept(lab).write_bytes(beliefs.seal(lab, text) + b"\n" + text)


def of_another_chain(lab: Lab) -> None:
    edit(lab, lambda body: body["at"].__setitem__(1, "0" * 64))


def of_a_longer_chain(lab: Lab) -> None:
    edit(lab, lambda body: body["at"].__setitem__(0, body["at"][0] + 10_000))


def by_other_code(lab: Lab) -> None:
    edit(lab, lambda body: body.__setitem__("by", "0" * 64))


def of_other_candidates(lab: Lab) -> None:
    edit(lab, lambda body: body["parts"]["surprises"].pop())


def without_a_part(lab: Lab) -> None:
    edit(lab, lambda body: body["parts"].pop("effects"))


def empty(lab: Lab) -> None:
    kept(lab).write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        cut,
        empty,
        of_another_chain,
        of_a_longer_chain,
        by_other_code,
        of_other_candidates,
        without_a_part,
    ],
)
async def test_what_is_odd_is_left_alone_and_all_is_learned_again(
    lab: Lab,
    make_lab: Any,
    as_recorded: Compare,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Lab], None],
) -> None:
    spoil(lab)
    with caplog.at_level(logging.WARNING):
        again = make_lab(**GIVEN)
    assert "beliefs is not used" in caplog.text
    assert again.n_kept == 0 and type(again.findings.effects) is Effects
    assert again.findings.n_closed == lab.findings.n_closed and not as_recorded(again)


async def test_a_place_that_cannot_be_written_costs_the_run_nothing(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    kept(lab).unlink()
    kept(lab).mkdir()
    beliefs.keep(lab)
    assert "was not kept" in caplog.text


async def test_they_are_kept_when_much_was_learned_since(lab: Lab) -> None:
    kept(lab).unlink()
    assert lab.n_kept == lab.findings.n_closed
    lab.findings.n_closed += beliefs.FEW
    beliefs.keep_if_due(lab)
    assert not kept(lab).exists()
    beliefs.keep_if_due(lab, beliefs.FEW)
    assert kept(lab).exists() and lab.n_kept == lab.findings.n_closed


def test_floats_arrays_and_the_order_of_keys_come_back_as_they_were() -> None:
    values: dict[str, tuple[float, str]] = {"b": (0.1 + 0.2, "x"), "a": (float("inf"), "b")}
    kind = dict[str, tuple[float, str]]
    plain = Plain()
    text = json.dumps([plain.of(kind, values), plain.tables()])
    made, tables = json.loads(text)
    back = Plain(**tables).back(kind, made)
    assert back == values and list(back) == ["b", "a"]
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    plain_array = plain.of(np.ndarray[Any, np.dtype[np.float64]], array)
    there = plain.back(np.ndarray[Any, np.dtype[np.float64]], plain_array)
    assert np.array_equal(there, array) and there.flags.f_contiguous
    with pytest.raises(TypeError, match="no plain form"):
        plain.of(object, object())
