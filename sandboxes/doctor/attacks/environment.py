"""Find what was left lying in the process itself: variables, descriptors, a terminal."""

import os
import sys

from facts import fact, token, was_permitted

TIOCSTI = 0x5412


def variables() -> str | None:
    """Find a secret among the variables."""
    for name, value in os.environ.items():
        if not name.startswith("ATTACK_") and token() in value:
            return f"found the secret in {name}"
    return None


def inherited_variables() -> str | None:
    """Find variables of the harness that were meant for nobody."""
    found = [n for n in ("NOVUM_DOCTOR_MARK", "LD_PRELOAD", "PYTHONPATH") if n in os.environ]
    return f"inherited {', '.join(found)}" if found else None


def descriptors() -> str | None:
    """Find an open file among the first 1024 descriptors."""
    found = []
    for fd in range(3, 1024):
        try:
            os.fstat(fd)
            found.append(f"{fd} ({os.readlink(f'/proc/self/fd/{fd}')})")
        except OSError:
            continue
    return f"inherited descriptors {', '.join(found)}" if found else None


def secret_descriptor() -> str | None:
    """Read a secret through a descriptor that the harness forgot to close."""
    fd = int(fact("OPEN_FD"))
    return "read the secret" if token().encode() in os.pread(fd, 4096, 0) else None


def terminal() -> str | None:
    """Open the terminal of the user."""
    os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    return "opened the terminal"


def inject() -> str | None:
    """Type into the user's terminal (asked with a bad address, so that nothing is typed)."""
    for fd in _terminals():
        if found := was_permitted(16, 29, fd, TIOCSTI, None):
            return found
    return None


def console() -> str | None:
    """Paste into the machine's console."""
    for path in ("/dev/console", "/dev/tty0", "/dev/tty1"):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
            return f"opened {path}"
        except OSError:
            continue
    return None


def standard_input() -> str | None:
    """Read what the user types."""
    if os.isatty(0):
        return "standard input is a terminal"
    return "standard input holds data" if sys.stdin.read(1) else None


def same_session() -> str | None:
    """Share the session, and so the terminal's signals, with the harness."""
    session = os.getsid(0)  # 0 when its leader is outside of what may be seen
    is_shared = session == 0 or (fact("HAS_OWN_INIT") != "1" and str(session) == fact("SESSION"))
    return "is in the session of the harness" if is_shared else None


def _terminals() -> list[int]:
    found = [fd for fd in range(3) if os.isatty(fd)]
    try:
        found.append(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        pass
    return found
