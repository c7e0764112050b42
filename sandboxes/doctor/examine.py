"""Attack a sandbox and write down, promise by promise, what held."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from novum.errors import SandboxLost
from novum.sandboxes.doctor.arena import Arena
from novum.sandboxes.doctor.catalogue import ATTACKS, LIMITS, Attack
from novum.sandboxes.protocol import Confinement, Exit, Limits, Promise, Sandbox


class Outcome(StrEnum):
    """What came of an attack."""

    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The sandbox could not run the attack: nothing is known, which counts against a promise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack, and what came of it."""

    attack: str
    title: str
    promise: Promise
    promised: bool
    outcome: Outcome
    detail: str
    seconds: float

    @property
    def breaks_promise(self) -> bool:
        """Whether a stated promise did not hold."""
        return self.promised and self.outcome is not Outcome.STOPPED


@dataclass(frozen=True, slots=True)
class Examination:
    """What the doctor found of one provider."""

    provider: str
    layers: tuple[str, ...]
    promises: frozenset[Promise]
    findings: tuple[Finding, ...]
    unavailable: str = ""
    """Why the provider cannot run here; then nothing was tried."""

    @property
    def is_sound(self) -> bool:
        """Whether everything that the provider promises held."""
        return not any(finding.breaks_promise for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a program that reads them."""
        return {
            "provider": self.provider,
            "unavailable": self.unavailable,
            "layers": list(self.layers),
            "promises": sorted(self.promises),
            "not_promised": sorted(set(Promise) - self.promises),
            "sound": self.is_sound,
            "findings": [asdict(finding) for finding in self.findings],
        }


def absent(provider: str, reason: str) -> Examination:
    """The examination of a provider that cannot run here."""
    return Examination(provider, (), frozenset(), (), unavailable=reason)


def examine(
    sandbox: Sandbox,
    attacks: Sequence[Attack] = ATTACKS,
    on_finding: Callable[[Finding], None] = lambda _: None,
) -> Examination:
    """Run the attacks one after another.

    Raises:
        SandboxUnavailable: the provider cannot run here.
    """
    sandbox.check()
    findings = []
    with Arena() as arena:
        for attack in attacks:
            findings.append(_try(sandbox, attack, arena))
            on_finding(findings[-1])
    return Examination(sandbox.name, sandbox.layers, sandbox.promises, tuple(findings))


def _try(sandbox: Sandbox, attack: Attack, arena: Arena) -> Finding:
    arena.prepare()
    has_own_init = Promise.PROCESSES_HIDDEN in sandbox.promises
    confinement = Confinement(
        argv=("python", "-I", "-S", "-B", str(arena.inputs), attack.name),
        cwd=arena.workspace,
        mounts=arena.mounts,
        env=arena.facts(has_own_init),
        limits=_limits(attack),
        cores=(min(os.sched_getaffinity(0)),),
    )
    try:
        ended = sandbox.start(confinement).wait()
    except SandboxLost as error:
        return _finding(sandbox, attack, Outcome.FAILED, str(error), 0.0)
    assert ended is not None, "wait() without a limit answers with an exit"
    outcome, detail = _judge(attack, ended, arena)
    return _finding(sandbox, attack, outcome, detail, ended.wall_s)


def _judge(attack: Attack, ended: Exit, arena: Arena) -> tuple[Outcome, str]:
    said = _last_words(ended.stdout)
    if residue := arena.residue():
        return Outcome.SUCCEEDED, residue
    if ended.n_survivors:
        return Outcome.SUCCEEDED, f"{ended.n_survivors} processes outlived the sandbox"
    if said.get("achieved"):
        return Outcome.SUCCEEDED, str(said["achieved"])
    if attack.judge is not None and (trouble := attack.judge(ended)):
        return Outcome.SUCCEEDED, trouble
    if "stopped" not in said and ended.code not in (None, 0) and ended.stderr and ended.code > 0:
        return Outcome.FAILED, f"the attack itself crashed: {ended.stderr.strip()[-300:]}"
    how = "" if "stopped" in said else f"ended as {ended.cause.value}"
    return Outcome.STOPPED, str(said.get("stopped", how))


def _finding(
    sandbox: Sandbox, attack: Attack, outcome: Outcome, detail: str, seconds: float
) -> Finding:
    return Finding(
        attack=attack.name,
        title=attack.title,
        promise=attack.promise,
        promised=attack.promise in sandbox.promises,
        outcome=outcome,
        detail=" ".join(detail.split())[:300],
        seconds=round(seconds, 3),
    )


def _limits(attack: Attack) -> Limits:
    return Limits(
        wall_s=attack.wall_s,
        memory_bytes=LIMITS.memory_bytes,
        pids=LIMITS.pids,
        file_bytes=LIMITS.file_bytes,
        disk_bytes=LIMITS.disk_bytes,
        output_bytes=LIMITS.output_bytes,
    )


def _last_words(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        if line.startswith('{"achieved"'):
            try:
                said = json.loads(line)
            except ValueError:
                continue
            return dict(said)
    return {}
