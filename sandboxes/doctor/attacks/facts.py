"""What the doctor tells its attacks: where the things are that they must not reach."""

import ctypes
import os


def fact(name: str) -> str:
    """A fact by its name; empty when this arena has none."""
    return os.environ.get(f"ATTACK_{name}", "")


def token() -> str:
    """What every secret of the arena holds; told backwards, lest an attack finds its own copy."""
    return fact("NEKOT")[::-1]


def syscall(number_x86: int, number_arm: int, *arguments: object) -> int:
    """A raw system call, past the C library and its wrappers.

    Raises:
        OSError: the kernel refused it.
    """
    number = number_x86 if os.uname().machine == "x86_64" else number_arm
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def was_permitted(number_x86: int, number_arm: int, *arguments: object) -> str | None:
    """Whether a call made with unusable arguments fails for those and not for want of permission.

    `None` when the call itself was refused: the attack that needs it has no way.
    """
    import errno

    refusals = (errno.EPERM, errno.EACCES, errno.ENOSYS)
    try:
        syscall(number_x86, number_arm, *arguments)
    except OSError as error:
        return None if error.errno in refusals else f"reached the call ({error.strerror})"
    return "the call succeeded"
