"""A seccomp filter: which system calls a sandboxed process may not make.

The filter is a deny-list over everything that a training program or a compiler never needs and
that widens the kernel's attack surface, undoes a namespace, or reaches another process. It is
assembled here as classic BPF, without a library, for x86_64 and aarch64; bubblewrap loads it from
a descriptor, the Docker provider from inside the container on top of Docker's own profile.

Source: seccomp(2), Linux `include/uapi/linux/{filter,seccomp,audit}.h`; numbers from the kernel's
`syscall_64.tbl` and `asm-generic/unistd.h`.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# classic BPF: load an absolute word, jump if equal / greater-equal / any bit set, return
LOAD, JEQ, JGE, JSET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
AT_NR, AT_ARCH, AT_ARGS = 0, 4, 16  # offsets in struct seccomp_data
X32_BIT = 0x40000000  # the x32 ABI aliases every call number; no program of ours uses it

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NEW_NAMESPACE = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
SET_ID_BITS = 0o6000
# push characters into a terminal, its Linux-console twin, change the line discipline
TERMINAL_IOCTLS = (0x5412, 0x541C, 0x5423)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (number on x86_64, number on aarch64); None where the architecture lacks the call
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # kernel keyrings
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # wide kernel interfaces
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    # the tree of mounts, and files by handle
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "clock_settime": (227, 112),
    "settimeofday": (164, 170),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    # looked at by argument below
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "creat": (85, None),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "sched_setaffinity": (203, 122),
    "prlimit64": (302, 261),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}
_OWNERLESS = ("memfd_create", "memfd_secret", "shmget")

# The C library falls back to the older call when it hears that these do not exist; the filter
# cannot look behind their pointers.
_ABSENT = ("clone3", "openat2")

# call: index of the argument that holds a file mode
_MODE_ARGUMENT = {
    "chmod": 1,
    "fchmod": 1,
    "fchmodat": 2,
    "fchmodat2": 2,
    "open": 2,
    "openat": 3,
    "creat": 1,
    "mknod": 1,
    "mknodat": 2,
}
_BY_ARGUMENT = {
    *("clone", "socket", "socketpair", "ioctl", "sched_setaffinity", "prlimit64"),
    *_OWNERLESS,
    *_MODE_ARGUMENT,
}
DENIED = tuple(name for name in _NUMBERS if name not in _BY_ARGUMENT and name not in _ABSENT)


@dataclass(frozen=True, slots=True)
class Policy:
    """What may differ between sandboxes."""

    loopback: bool = False
    """Allow IP sockets: the processes of one torchrun talk over the private loopback."""
    pinned: bool = False
    """Refuse to move to other cores."""
    sampled: bool = False
    """Refuse memory that belongs to no process: where none of it is in a control group, the sum
    over processes must be the whole."""


def is_supported(machine: str | None = None) -> bool:
    """Whether a filter can be made for this (or the named) architecture."""
    return (machine or platform.machine()) in _AUDIT_ARCH


def assemble(policy: Policy = Policy(), machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`, native byte order.

    Raises:
        ValueError: no call table exists for this architecture; see `is_supported`.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT_ARCH:
        raise ValueError(f"no seccomp filter for the architecture {machine}")
    column = list(_AUDIT_ARCH).index(machine)
    program = [
        _op(LOAD, AT_ARCH),
        _op(JEQ, _AUDIT_ARCH[machine], 1, 0),
        _op(RETURN, KILL_PROCESS),
        _op(LOAD, AT_NR),
    ]
    if machine == "x86_64":
        program += [_op(JGE, X32_BIT, 0, 1), _refuse(errno.ENOSYS)]
    for name, numbers in _NUMBERS.items():
        if (number := numbers[column]) is None:
            continue
        if name in _ABSENT:
            body = [_refuse(errno.ENOSYS)]
        elif name in DENIED:
            body = [_refuse(errno.EPERM)]
        else:
            body = _by_argument(name, policy)
        if body:
            program += [_op(JEQ, number, 0, len(body)), *body]
    program.append(_op(RETURN, ALLOW))
    return b"".join(program)


def _by_argument(name: str, policy: Policy) -> list[bytes]:
    if name in ("socket", "socketpair"):
        families = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK) if policy.loopback else (AF_UNIX,)
        return _allow_only(0, families, errno.EAFNOSUPPORT)
    if name == "clone":
        return _refuse_bits(0, NEW_NAMESPACE)
    if name == "ioctl":
        return _refuse_values(1, TERMINAL_IOCTLS)
    if name == "prlimit64":  # the limits of others, the first process of the sandbox among them
        return _allow_only(0, (0,), errno.EPERM)
    if name == "sched_setaffinity":
        return [_refuse(errno.EPERM)] if policy.pinned else []
    if name in _OWNERLESS:
        return [_refuse(errno.EPERM)] if policy.sampled else []
    return _refuse_bits(_MODE_ARGUMENT[name], SET_ID_BITS)


def _allow_only(argument: int, values: Iterable[int], error: int) -> list[bytes]:
    body = [_load_argument(argument)]
    for value in values:
        body += [_op(JEQ, value, 0, 1), _op(RETURN, ALLOW)]
    return [*body, _refuse(error)]


def _refuse_values(argument: int, values: Iterable[int]) -> list[bytes]:
    body = [_load_argument(argument)]
    for value in values:
        body += [_op(JEQ, value, 0, 1), _refuse(errno.EPERM)]
    return [*body, _op(RETURN, ALLOW)]


def _refuse_bits(argument: int, bits: int) -> list[bytes]:
    return [
        _load_argument(argument),
        _op(JSET, bits, 0, 1),
        _refuse(errno.EPERM),
        _op(RETURN, ALLOW),
    ]


def _load_argument(index: int) -> bytes:
    return _op(LOAD, AT_ARGS + 8 * index)  # low word: both architectures are little-endian


def _refuse(error: int) -> bytes:
    return _op(RETURN, ERRNO | error)


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)
