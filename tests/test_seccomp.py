"""The seccomp filter, run through an interpreter of classic BPF: what it decides for each call."""

from __future__ import annotations

import errno
import struct

import pytest

from novum.sandboxes import seccomp

ALLOW, KILL = seccomp.ALLOW, seccomp.KILL_PROCESS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
DEFAULT = seccomp.Policy()
machines = pytest.mark.parametrize("machine", list(ARCH))


def decide(
    machine: str,
    call: str | int,
    *arguments: int,
    policy: seccomp.Policy = DEFAULT,
    arch: int | None = None,
) -> int:
    """What the filter for `machine` answers to a call."""
    number = seccomp._NUMBERS[call][COLUMN[machine]] if isinstance(call, str) else call
    assert number is not None
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, arch or ARCH[machine], 0, *padded)
    program = seccomp.assemble(policy, machine)
    code = [struct.unpack_from("=HBBI", program, 8 * i) for i in range(len(program) // 8)]
    accumulator = position = 0
    while True:
        op, if_true, if_false, k = code[position]
        position += 1
        if op == seccomp.RETURN:
            return int(k)
        if op == seccomp.LOAD:
            accumulator = struct.unpack_from("=I", data, k)[0]
            continue
        tests = {
            seccomp.JEQ: accumulator == k,
            seccomp.JGE: accumulator >= k,
            seccomp.JSET: bool(accumulator & k),
        }
        position += if_true if tests[op] else if_false


def refused(error: int) -> int:
    return seccomp.ERRNO | error


@machines
@pytest.mark.parametrize("call", seccomp.DENIED)
def test_a_denied_call_is_refused_where_it_exists(machine: str, call: str) -> None:
    if seccomp._NUMBERS[call][COLUMN[machine]] is None:
        return
    assert decide(machine, call) == refused(errno.EPERM)


@machines
def test_ordinary_calls_pass(machine: str) -> None:
    ordinary = {"x86_64": (0, 1, 9, 12, 59, 202, 231), "aarch64": (63, 64, 222, 214, 221, 98, 94)}
    for number in ordinary[machine]:
        assert decide(machine, number) == ALLOW


@machines
def test_threads_may_be_made_and_namespaces_may_not(machine: str) -> None:
    thread = 0x3D0F00  # the flags of pthread_create
    assert decide(machine, "clone", thread) == ALLOW
    for namespace in (0x20000, 0x10000000, 0x20000000, 0x40000000, 0x02000000):
        assert decide(machine, "clone", thread | namespace) == refused(errno.EPERM)
    assert decide(machine, "clone3") == refused(errno.ENOSYS)


@machines
def test_a_process_sets_limits_of_its_own_and_of_nobody_else(machine: str) -> None:
    assert decide(machine, "prlimit64", 0, 7, 1) == ALLOW
    for pid in (1, 2, 4096):
        assert decide(machine, "prlimit64", pid, 0, 1) == refused(errno.EPERM)


@machines
def test_only_unix_sockets_unless_the_loopback_is_asked_for(machine: str) -> None:
    for call in ("socket", "socketpair"):
        assert decide(machine, call, seccomp.AF_UNIX) == ALLOW
        for family in (seccomp.AF_INET, seccomp.AF_INET6, 17, 40):
            assert decide(machine, call, family) == refused(errno.EAFNOSUPPORT)
    inside = seccomp.Policy(loopback=True)
    assert decide(machine, "socket", seccomp.AF_INET, policy=inside) == ALLOW
    assert decide(machine, "socket", 40, policy=inside) == refused(errno.EAFNOSUPPORT)


@machines
def test_characters_cannot_be_pushed_into_a_terminal(machine: str) -> None:
    assert decide(machine, "ioctl", 0, 0x5413) == ALLOW  # the size of the window
    assert decide(machine, "ioctl", 0, 0x5412) == refused(errno.EPERM)
    # the kernel looks at the low word only; so must the filter
    assert decide(machine, "ioctl", 0, 0x1_0000_5412) == refused(errno.EPERM)


@machines
def test_no_file_gets_the_bits_that_change_its_user(machine: str) -> None:
    assert decide(machine, "fchmodat", 0, 0, 0o755) == ALLOW
    for mode in (0o4755, 0o2755, 0o6000):
        assert decide(machine, "fchmodat", 0, 0, mode) == refused(errno.EPERM)
        assert decide(machine, "openat", 0, 0, 0, mode) == refused(errno.EPERM)
    assert decide(machine, "openat2") == refused(errno.ENOSYS)


@machines
def test_policies_close_cores_and_memory_without_an_owner(machine: str) -> None:
    for call in ("sched_setaffinity", "memfd_create", "shmget"):
        assert decide(machine, call) == ALLOW
    strict = seccomp.Policy(pinned=True, sampled=True)
    for call in ("sched_setaffinity", "memfd_create", "shmget"):
        assert decide(machine, call, policy=strict) == refused(errno.EPERM)


def test_another_architecture_kills_and_another_table_does_not_exist() -> None:
    assert decide("x86_64", 1, arch=0x40000003) == KILL  # 32-bit calls have other numbers
    assert decide("x86_64", seccomp.X32_BIT | 1) == refused(errno.ENOSYS)


def test_an_unknown_machine_has_no_filter() -> None:
    assert not seccomp.is_supported("riscv64")
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.assemble(machine="riscv64")
