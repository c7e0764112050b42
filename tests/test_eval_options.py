"""Numbers on the command lines of `novum eval` that make no sense are refused before any work."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("suite", "words", "said"),
    [
        ("memory", ("--lessons", "-1"), "-1 is less than 0"),
        ("memory", ("--kills", "x"), "'x' is no whole number"),
        ("search", ("--trials", "100", "0"), "0 is less than 1"),
        ("search", ("--policies", "nonsense"), "choose from 'keep-if-better'"),
        ("overhead", ("--lessons", "-3"), "-3 is less than 0"),
        ("overhead", ("--threads", "2", "--candidates", "30"), "20 or more for each thread"),
        ("prompts", ("--iterations", "0"), "0 is less than 1"),
        ("auditor", ("--slots", "0"), "0 is less than 1"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(
    suite: str, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        import_module(f"novum.evals.suites.{suite}").run(words)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
