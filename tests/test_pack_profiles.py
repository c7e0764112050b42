"""Profiles that are like another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from novum.benchmarks.pack import load_pack
from novum.errors import PackError

NANOCHAT = Path(__file__).parents[1] / "benchmarks" / "nanochat"
MANIFEST = """
id = "sized"
title = "Sized"
metric = {{ name = "m", better = "lower" }}
editable = ["a.py"]
default_start = "one"
default_profile = "small"

[profiles.small]
budget_s = 2
cores = 3
options = {{ text = {{ corpus = "c", words = 5 }}, rows = 4 }}

{more}
"""


def written(folder: Path, more: str) -> Path:
    (folder / "start" / "one").mkdir(parents=True)
    (folder / "pack.toml").write_text(MANIFEST.format(more=more))
    return folder


def test_a_profile_says_only_what_differs_also_in_tables_within_tables(tmp_path: Path) -> None:
    more = '[profiles.large]\nlike = "small"\nbudget_s = 9\noptions.text.words = 7'
    pack = load_pack(written(tmp_path, more))
    small, large = pack.profile("small"), pack.profile("large")
    assert (large.name, large.budget_s, large.cores) == ("large", 9, 3)
    assert large.options == {"text": {"corpus": "c", "words": 7}, "rows": 4}
    assert small.options == {"text": {"corpus": "c", "words": 5}, "rows": 4}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[profiles.large]\nlike = "huge"', "like 'huge', which is no other profile"),
        ('[profiles.large]\nlike = "large"', "like 'large', which is no other profile"),
        (
            '[profiles.b]\nlike = "small"\n[profiles.large]\nlike = "b"',
            "like b, which is itself like another",
        ),
        ('[profiles.large]\nlike = "small"\nbudget = 3', "profiles.large.budget"),
    ],
)
def test_a_profile_like_nothing_is_named(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(PackError, match=message):
        load_pack(written(tmp_path, more))


def test_nanochat_has_three_budgets_on_a_gpu_that_differ_in_nothing_else() -> None:
    pack = load_pack(NANOCHAT)
    sizes = [pack.profile(name) for name in ("gpu60", "gpu", "gpu300")]
    assert [size.budget_s for size in sizes] == [60, 120, 300]
    assert len({size.options["max_tokens"] / size.budget_s for size in sizes}) == 1
    varying: dict[str, object] = {"name": "", "like": "", "budget_s": 1, "options": {}}
    assert len({repr(size.model_copy(update=varying)) for size in sizes}) == 1
    assert len({repr(size.options["data"]) for size in sizes}) == 1
