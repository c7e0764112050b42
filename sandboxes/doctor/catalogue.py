"""Which attacks there are, the promise that each of them puts to the test, and how it is judged."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from novum.sandboxes.protocol import Exit, ExitCause, Limits, Promise

FOLDER = Path(__file__).parent / "attacks"
MB = 1 << 20
# Small, so that an attack that succeeds costs little.
LIMITS = Limits(
    wall_s=6.0,
    memory_bytes=96 * MB,
    pids=24,
    file_bytes=8 * MB,
    disk_bytes=24 * MB,
    output_bytes=1 << 16,
)
LATE_S = 5.0  # how long after its limit a tree may take to be gone

Judge = Callable[[Exit], str | None]
"""What an exit gives away about a broken promise; `None` when nothing."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One program that tries to break one promise."""

    name: str
    promise: Promise
    wall_s: float = LIMITS.wall_s
    judge: Judge | None = None
    is_slow: bool = False
    """Takes a second or more where the promise holds."""

    @property
    def title(self) -> str:
        """What it tries, in one sentence."""
        return _titles(self.name.partition(".")[0])[self.name.partition(".")[2]]


def _in_time(exit: Exit) -> str | None:
    if exit.cause is not ExitCause.TIMEOUT:
        return f"ended as {exit.cause.value}, not by the time limit"
    return _on_time(exit)


def _on_time(exit: Exit) -> str | None:
    late_s = exit.wall_s - LIMITS.wall_s
    return f"ended {late_s:.1f} s after its limit" if late_s > LATE_S else None


def _bounded_memory(exit: Exit) -> str | None:
    if exit.peak_bytes > 2 * LIMITS.memory_bytes:
        return f"held {exit.peak_bytes // MB} MB, {LIMITS.memory_bytes // MB} allowed"
    if exit.cause is ExitCause.TIMEOUT:
        return "was stopped by the clock only"
    return None


def _bounded_output(exit: Exit) -> str | None:
    kept = max(len(exit.stdout), len(exit.stderr))
    if kept > 2 * LIMITS.output_bytes or not exit.truncated:
        return f"{kept} characters were kept, and truncation was reported: {exit.truncated}"
    return None


def _still_reports(exit: Exit) -> str | None:
    return f"the sandbox ended as {exit.cause.value}" if exit.cause is ExitCause.LOST else None


def _many(promise: Promise, module: str, *functions: str) -> tuple[Attack, ...]:
    return tuple(Attack(f"{module}.{function}", promise) for function in functions)


P = Promise
ATTACKS: tuple[Attack, ...] = (
    *_many(P.NO_NETWORK, "network", "tcp", "tcp_ipv6", "udp", "dns", "resolver", "metadata"),
    *_many(P.NO_NETWORK, "network", "abstract_socket", "path_socket", "engine_socket", "ping"),
    *_many(P.NO_NETWORK, "network", "raw_packets", "interfaces", "vsock", "netlink"),
    *_many(P.SECRETS_UNREADABLE, "reading", "home_file", "credentials", "listing", "symlink"),
    *_many(P.SECRETS_UNREADABLE, "reading", "hardlink", "parent_folder", "root_of_process"),
    *_many(P.SECRETS_UNREADABLE, "reading", "file_handle", "password_hashes", "account_list"),
    *_many(P.SECRETS_UNREADABLE, "reading", "shared_memory_file", "grader_source"),
    *_many(P.SECRETS_UNREADABLE, "reading", "temporary_files", "kernel_memory", "kernel_log"),
    *_many(P.WRITES_CONFINED, "writing", "absolute", "dots", "through_link", "move_out"),
    *_many(P.WRITES_CONFINED, "writing", "input_file", "input_mode", "input_by_process"),
    *_many(P.WRITES_CONFINED, "writing", "input_rename", "interpreter", "standard_library"),
    *_many(P.WRITES_CONFINED, "writing", "system", "start_files", "kernel_settings", "sysrq"),
    *_many(P.WRITES_CONFINED, "writing", "cgroup", "system_program"),
    *_many(P.NO_PRIVILEGES, "writing", "set_user_id", "set_user_id_at_birth"),
    *_many(P.NO_PRIVILEGES, "writing", "device_left_behind"),
    *_many(P.PROCESSES_HIDDEN, "processes", "walk", "environment", "kill", "signal_doctor"),
    *_many(P.PROCESSES_HIDDEN, "processes", "trace", "read_memory", "memory_file"),
    *_many(P.PROCESSES_HIDDEN, "processes", "take_descriptor", "init_channel", "shared_memory"),
    *_many(P.PROCESSES_HIDDEN, "processes", "join_namespace", "slow_down"),
    Attack("processes.kill_init", P.PROCESSES_HIDDEN, judge=_still_reports),
    *_many(P.NO_PRIVILEGES, "processes", "trace_own_child"),
    *_many(P.NO_PRIVILEGES, "privileges", "capabilities", "become_root", "gain_by_exec"),
    *_many(P.NO_PRIVILEGES, "privileges", "user_namespace", "namespace_by_clone"),
    *_many(P.NO_PRIVILEGES, "privileges", "namespace_by_clone3", "mount", "remount_writable"),
    *_many(P.NO_PRIVILEGES, "privileges", "new_mount_calls", "detach_tree", "unmount"),
    *_many(P.NO_PRIVILEGES, "privileges", "change_root", "disk_device", "devices", "keyring"),
    *_many(P.NO_PRIVILEGES, "privileges", "search_keyring", "bpf", "performance_counters"),
    *_many(P.NO_PRIVILEGES, "privileges", "user_faults", "io_uring", "set_clock"),
    *_many(P.NO_PRIVILEGES, "privileges", "load_module", "new_kernel", "reboot", "host_name"),
    *_many(P.NO_PRIVILEGES, "privileges", "raise_limit", "real_time", "more_cores"),
    *_many(P.NO_PRIVILEGES, "privileges", "other_calling_convention"),
    *_many(P.CLEAN_ENVIRONMENT, "environment", "variables", "inherited_variables"),
    *_many(P.NO_INHERITED_FDS, "environment", "descriptors", "secret_descriptor"),
    *_many(P.NO_TERMINAL, "environment", "terminal", "inject", "console", "standard_input"),
    *_many(P.NO_TERMINAL, "environment", "same_session"),
    Attack("resources.endless_loop", P.TIME_BOUNDED, 0.5, _in_time),
    Attack("resources.deaf_sleeper", P.TIME_BOUNDED, 0.5, _in_time),
    Attack("resources.stop_itself", P.TIME_BOUNDED, 0.5, _in_time),
    Attack("resources.busy_grandchild", P.TIME_BOUNDED, 0.5, _in_time),
    Attack("resources.memory", P.MEMORY_BOUNDED, judge=_bounded_memory),
    Attack("resources.memory_in_children", P.MEMORY_BOUNDED, judge=_bounded_memory, is_slow=True),
    Attack("resources.shared_memory", P.MEMORY_BOUNDED, judge=_bounded_memory),
    Attack("resources.memory_files", P.MEMORY_BOUNDED, judge=_bounded_memory),
    *_many(P.PROCESSES_BOUNDED, "resources", "fork_bomb", "thread_bomb"),
    *_many(P.DISK_BOUNDED, "resources", "big_file", "sparse_file", "fill_tmp", "fill_shm"),
    *_many(P.DISK_BOUNDED, "resources", "fill_root", "deep_folders", "odd_names"),
    Attack("resources.many_files", P.DISK_BOUNDED, is_slow=True),
    Attack("resources.flood", P.OUTPUT_BOUNDED, judge=_bounded_output),
    Attack("resources.endless_line", P.OUTPUT_BOUNDED, judge=_bounded_output),
    Attack("resources.daemon", P.NO_SURVIVORS),
    Attack("resources.deaf_daemon", P.NO_SURVIVORS),
    Attack("resources.daemon_past_timeout", P.NO_SURVIVORS, 1.0, _in_time, is_slow=True),
    Attack("resources.pipe_holder", P.NO_SURVIVORS, judge=_on_time),
)


@functools.cache
def _titles(module: str) -> dict[str, str]:
    """First lines of the docstrings of an attack file, which only a sandbox may import."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: (ast.get_docstring(f) or f.name).splitlines()[0] for f in functions}
