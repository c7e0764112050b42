"""Find a sandbox by name; `auto` is the strongest one that isolates and works here."""

from __future__ import annotations

from collections.abc import Callable

from novum.errors import SandboxUnavailable, UnknownName
from novum.sandboxes.protocol import Sandbox


def _docker() -> Sandbox:
    from novum.sandboxes.docker import DockerSandbox

    return DockerSandbox()


def _bubblewrap() -> Sandbox:
    from novum.sandboxes.bubblewrap import BubblewrapSandbox

    return BubblewrapSandbox()


def _process() -> Sandbox:
    from novum.sandboxes.process import ProcessSandbox

    return ProcessSandbox()


# Strongest first. bubblewrap comes before docker: it hides and holds as much (the contract suite
# holds both to the same promises), needs no daemon with root's rights, and starts 20 times sooner.
PROVIDERS: dict[str, Callable[[], Sandbox]] = {
    "bubblewrap": _bubblewrap,
    "docker": _docker,
    "process": _process,
}
ISOLATING = ("bubblewrap", "docker")


def find_sandbox(name: str = "auto", *, own_code: bool = False) -> Sandbox:
    """The provider of this name, ready to start processes.

    `docker:IMAGE` names another image than the default, such as `docker:novum-sandbox:full`.
    `auto` falls back to `process`, which does not isolate, only for `own_code`: code that the user
    wrote or installed. For anybody else's it is asked for by name.

    Raises:
        UnknownName: there is no such provider.
        SandboxUnavailable: it cannot run here; for `auto`, none that isolates can.
    """
    if name.startswith("docker:"):
        from novum.sandboxes.docker import DockerSandbox

        chosen = DockerSandbox(image_name=name.partition(":")[2])
        chosen.check()
        return chosen
    if name != "auto":
        if name not in PROVIDERS:
            known = ", ".join(["auto", *PROVIDERS])
            raise UnknownName(f"no sandbox {name!r}; there are {known}")
        sandbox = PROVIDERS[name]()
        sandbox.check()
        return sandbox
    reasons = []
    for candidate in ISOLATING:
        try:
            return find_sandbox(candidate)
        except SandboxUnavailable as error:
            reasons.append(f"- {candidate}: {error}")
    if own_code:
        return find_sandbox("process")
    raise SandboxUnavailable(
        "No sandbox that isolates can run here:\n" + "\n".join(reasons) + "\n"
        "Fix one of them, or ask for `process` by name if you wrote the code yourself: it bounds "
        "time, memory and processes, and hides nothing."
    )


def available() -> tuple[str, ...]:
    """Names of the providers that can run here, strongest first."""
    found = []
    for name in PROVIDERS:
        try:
            find_sandbox(name)
        except SandboxUnavailable:
            continue
        found.append(name)
    return tuple(found)
