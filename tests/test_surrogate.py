"""The surrogate's design is balanced and repeatable, and its trials are written one by one."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

from novum.benchmarks.moves import load_playbook
from novum.benchmarks.pack import find_pack
from novum.evals.suites.surrogate.design import arms, build
from novum.evals.suites.surrogate.measure import read_design, read_trials

N = 240


def test_a_design_applies_repeats_and_measures_every_technique_alone_and_together() -> None:
    pack = find_pack("nanochat")
    techniques, start = load_playbook(pack.folder / "playbook"), pack.start_files()
    made = list(islice(arms(techniques, start, "x", "quarter"), N))
    assert made == list(islice(arms(techniques, start, "x", "quarter"), N))
    full = [arm.names for arm in made if arm.fidelity == "full"]
    assert sum(names == () for names in full) >= 8
    counts = Counter(name for names in full for name in names)
    assert set(counts) == set(techniques)
    singles = {names for names in full if len(names) == 1}
    assert len(singles) >= len(techniques) - 1  # one applies only to another
    assert {arm.names for arm in made if arm.fidelity == "quarter"} & singles
    for names in full[-20:]:
        assert build(techniques, start, names) is not None


def test_a_design_is_made_once_and_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    pack = find_pack("nanochat")
    first = read_design(tmp_path, pack, 40, None)
    assert len(first) == 40 and all(arm.fidelity == "full" for arm in first)
    assert read_design(tmp_path, pack, 9, "quarter") == first
    (tmp_path / "trials.jsonl").write_text('{"index": 4}\n{"index": 7}\n{"ind')
    assert [row["index"] for row in read_trials(tmp_path)] == [4, 7]
