"""Settings come from four places in a known order, and a misspelt one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from novum.errors import UsageError
from novum.settings import Settings, keys, load_settings, restore_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_command_line_beats_variables_beat_the_file_beats_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "novum.toml").write_text(
        'benchmark = "file"\nthreads = 3\npolicy = "file"\n[budget]\nwall_s = 1\ntokens = 7\n'
    )
    monkeypatch.setenv("NOVUM_THREADS", "4")
    monkeypatch.setenv("NOVUM_POLICY", "variable")
    monkeypatch.setenv("NOVUM_BUDGET__WALL_S", "2")
    settings = load_settings({"policy": "line", "profile": None, "budget": {"wall_s": 3}})
    assert settings.benchmark == "file"
    assert settings.threads == 4
    assert settings.policy == "line"
    assert (settings.budget.wall_s, settings.budget.tokens) == (3, 7)
    assert settings.profile is None
    assert settings.sandbox.kind == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread = 3", r"novum.toml has an unknown setting 'thread'. Did you mean 'threads'\?"),
        ("[budget]\nwall = 3", r"'budget.wall'. Did you mean 'budget.wall_s'\?"),
        ("budget = 3", r"'budget' is a section; write `\[budget\]`"),
        ("threads = 0", r"threads = 0 \(.*novum.toml\): Input should be greater"),
        ("threads = ", "novum.toml cannot be read"),
        ('[sandbox]\nkind = "jail"', "sandbox.kind = 'jail'"),
        ('[sandbox]\nkind = "docker:"', "there is auto, bubblewrap, docker, process and docker:"),
        ('[memory]\nwhere = "ftp://x"', "a folder or begins with http://"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "novum.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings()


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVUM_BUDGET__WALL", "3")
    with pytest.raises(UsageError, match=r"NOVUM_BUDGET__WALL. Did you mean NOVUM_BUDGET__WALL_S"):
        load_settings()


def test_a_wrong_value_is_blamed_on_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVUM_SLOTS", "many")
    with pytest.raises(UsageError, match=r"slots = 'many' \(the environment\)"):
        load_settings()
    with pytest.raises(UsageError, match=r"slots = 0 \(the command line\)"):
        load_settings({"slots": 0})


def test_a_secret_is_neither_shown_nor_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOVUM_BRAIN__API_KEY", "sk-secret")
    settings = load_settings()
    assert settings.brain.api_key is not None
    assert settings.brain.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in str(settings.saved())


def test_saved_settings_come_back_and_the_command_line_may_change_them() -> None:
    settings = load_settings({"budget": {"experiments": 5}, "brain": {"coder": "ollama:x"}})
    again = restore_settings(settings.saved(), {"budget": {"experiments": 9}})
    assert again.budget.experiments == 9
    assert again.brain.role("coder") == "ollama:x"
    assert again.brain.role("planner") == "playbook"
    assert again.model_copy(update={"budget": settings.budget}) == settings


def test_every_setting_says_what_it_is() -> None:
    undescribed = {key for key, description in keys() if not description}
    assert undescribed <= {
        *("budget.gpu_hours", "brain.planner", "brain.coder", "brain.auditor"),
    }, "only names that explain themselves go without a description"
    assert set(Settings.model_fields) >= {"threads", "slots", "policy"}


def test_a_variable_of_the_harness_is_no_misspelt_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOVUM_COMPILE_CACHE", str(tmp_path))
    assert load_settings(folder=tmp_path) == load_settings({}, folder=tmp_path)
    monkeypatch.setenv("NOVUM_COMPILE_CACHES", str(tmp_path))
    with pytest.raises(UsageError, match="NOVUM_COMPILE_CACHES"):
        load_settings(folder=tmp_path)
