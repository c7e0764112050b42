"""The doctor: attacks are stopped where that is promised, succeed where it is not, and count."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
import typer
from typer.testing import CliRunner, Result

from novum.app.doctor import doctor
from novum.errors import SandboxUnavailable
from novum.sandboxes import Confinement, Promise, Sandbox, SandboxedProcess
from novum.sandboxes.doctor import ATTACKS, Attack, Outcome, absent, examine
from novum.sandboxes.doctor.report import lines, standing
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.registry import PROVIDERS, find_sandbox

QUICK_PER_PROMISE = 3


def _quick(n_per_promise: int) -> set[str]:
    chosen: dict[Promise, list[str]] = defaultdict(list)
    for attack in ATTACKS:
        if not attack.is_slow and len(chosen[attack.promise]) < n_per_promise:
            chosen[attack.promise].append(attack.name)
    return {name for names in chosen.values() for name in names}


def _cases() -> Iterator[object]:
    for provider, n_quick in (("bubblewrap", QUICK_PER_PROMISE), ("docker", 1)):
        quick = _quick(n_quick)
        for attack in ATTACKS:
            marks = [pytest.mark.docker] if provider == "docker" else []
            marks += [] if attack.name in quick else [pytest.mark.slow]
            yield pytest.param(provider, attack, id=f"{provider}-{attack.name}", marks=marks)


@pytest.fixture(scope="module")
def provider() -> Callable[[str], Sandbox]:
    found: dict[str, Sandbox | str] = {}

    def find(name: str) -> Sandbox:
        if name not in found:
            try:
                found[name] = find_sandbox(name)
            except SandboxUnavailable as error:
                found[name] = str(error)
        sandbox = found[name]
        if isinstance(sandbox, str):
            pytest.skip(f"{name} cannot run here: {sandbox}")
        return sandbox

    return find


@pytest.mark.parametrize(("name", "attack"), list(_cases()))
def test_an_attack_on_a_promise_is_stopped(
    provider: Callable[[str], Sandbox], name: str, attack: Attack
) -> None:
    sandbox = provider(name)
    if attack.promise not in sandbox.promises:
        pytest.skip(f"{name} does not promise {attack.promise} on this machine")
    finding = examine(sandbox, [attack]).findings[0]
    assert finding.outcome is Outcome.STOPPED, finding.detail


UNSTOPPED = (
    "network.tcp",
    "network.abstract_socket",
    "reading.home_file",
    "reading.symlink",
    "writing.absolute",
    "writing.through_link",
    "writing.input_file",
    "processes.walk",
    "processes.kill",
    "resources.fill_tmp",
)


@pytest.mark.parametrize("name", UNSTOPPED)
def test_the_same_attack_succeeds_where_nothing_is_promised(name: str) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == name)
    examination = examine(ProcessSandbox(), [attack])
    assert examination.findings[0].outcome is Outcome.SUCCEEDED
    assert examination.is_sound  # it was never promised
    assert "not promised" in standing(examination, attack.promise)


class Boaster:
    """A sandbox that promises everything and is a plain process."""

    name = "boaster"
    promises = frozenset(Promise)
    layers = ("words",)

    def __init__(self) -> None:
        self._process = ProcessSandbox()
        self.visible = self._process.visible

    def check(self) -> None:
        """It always claims to run."""

    def start(self, confinement: Confinement) -> SandboxedProcess:
        """Start a process without any wall."""
        return self._process.start(confinement)


def test_a_broken_promise_is_found_named_and_makes_the_command_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PROVIDERS, "boaster", Boaster)
    answer = _run("boaster", "--only", "home_file")
    assert answer.exit_code == 1
    assert "secrets-unreadable   BROKEN (0 of 1 attacks stopped)" in answer.stdout
    assert "read the secret" in answer.stdout
    answer = _run("boaster", "--only", "home_file", "--json")
    report = json.loads(answer.stdout)
    assert answer.exit_code == 1
    assert (report["sound"], report["findings"][0]["outcome"]) == (False, "succeeded")


def test_what_a_provider_does_not_promise_is_shown_and_is_no_failure() -> None:
    answer = _run("process", "--only", "home_file", "--verbose")
    assert answer.exit_code == 0
    assert "secrets-unreadable   not promised (0 of 1 attacks stopped)" in answer.stdout
    assert "(succeeded)" in answer.stdout


def test_a_provider_that_cannot_run_is_shown_with_the_remedy() -> None:
    examination = absent("docker", "Docker has no socket.\nStart it.")
    assert list(lines(examination)) == ["docker", "  Docker has no socket.", "  Start it."]
    assert examination.is_sound and examination.as_json()["unavailable"]


def test_every_promise_is_attacked_and_every_attack_says_what_it_tries() -> None:
    assert {attack.promise for attack in ATTACKS} == set(Promise)
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 40
    assert all(attack.title.endswith(".") for attack in ATTACKS)


def _run(*words: str) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(words))
