"""Become more than one is: capabilities, namespaces, devices, wide doors of the kernel."""

import ctypes
import os
import resource
import stat
import time

from facts import fact, syscall, was_permitted

NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000


def capabilities() -> str | None:
    """Hold a capability."""
    for line in open("/proc/self/status"):
        if line.startswith("CapEff") and int(line.split()[1], 16):
            return f"holds capabilities {line.split()[1]}"
    return None


def become_root() -> str | None:
    """Become user 0."""
    os.setuid(0)
    return "is user 0" if os.geteuid() == 0 else None


def gain_by_exec() -> str | None:
    """Gain privileges by starting a program that has the set-user-id bit."""
    libc = ctypes.CDLL(None)
    return None if libc.prctl(39, 0, 0, 0, 0) == 1 else "new privileges may be gained"


def user_namespace() -> str | None:
    """Be root of one's own: the usual first step against the kernel."""
    syscall(272, 97, NEWUSER)
    return "made a user namespace"


def namespace_by_clone() -> str | None:
    """The same with the older call."""
    child = syscall(56, 220, NEWUSER | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made a user namespace with clone"


def namespace_by_clone3() -> str | None:
    """The same with the newer call, whose flags a filter cannot see."""
    arguments = (ctypes.c_uint64 * 11)(NEWUSER, 0, 0, 0, 17)
    child = syscall(435, 435, ctypes.byref(arguments), 88)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made a user namespace with clone3"


def mount() -> str | None:
    """Mount something over the grader's files."""
    target = os.path.join(fact("WORKSPACE"), "mounted")
    os.mkdir(target)
    syscall(165, 40, b"none", target.encode(), b"tmpfs", 0, None)
    syscall(166, 39, target.encode(), 2)
    return "mounted a file system"


def remount_writable() -> str | None:
    """Make a read-only mount writable again."""
    path = fact("INPUTS").encode()
    syscall(165, 40, None, path, None, 0x20 | 0x1000, None)
    return "remounted an input writable"


def new_mount_calls() -> str | None:
    """Mount with the newer calls that old filters do not know."""
    fd = syscall(430, 430, b"tmpfs", 0)
    os.close(fd)
    return "opened a file system context"


def detach_tree() -> str | None:
    """Clone the tree of mounts."""
    os.close(syscall(428, 428, -100, b"/", 1))
    return "cloned a tree of mounts"


def unmount() -> str | None:
    """Take the workspace's mount away, to see what lies under it."""
    return was_permitted(166, 39, fact("WORKSPACE").encode(), 2)


def change_root() -> str | None:
    """Change the root, the first half of an old escape."""
    os.chroot(fact("WORKSPACE"))
    return "changed its root"


def disk_device() -> str | None:
    """Make a node for the disk and read it."""
    node = "/tmp/novum-doctor-disk"
    os.mknod(node, stat.S_IFBLK | 0o600, int(fact("DISK") or os.makedev(8, 0)))
    try:
        with open(node, "rb", buffering=0) as file:
            return f"read {len(file.read(512))} bytes of the disk"
    finally:
        os.unlink(node)


def devices() -> str | None:
    """Find a raw device in /dev (those that may be opened without consequence)."""
    names = ("sda", "vda", "xvda", "nvme0n1", "dm-0", "mem", "port", "kvm", "fuse", "net/tun")
    for name in (*names, "vhost-vsock", "vhost-net", "uinput", "loop-control", "loop0"):
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK))
            return f"opened /dev/{name}"
        except OSError:
            continue
    return None


def keyring() -> str | None:
    """Put a key where the kernel keeps those of other programs."""
    syscall(248, 217, b"user", b"novum-doctor", b"x", 1, -1)
    return "added a key"


def search_keyring() -> str | None:
    """Read the user's session keyring."""
    syscall(250, 219, 0, -3, 0)
    return "reached the session keyring"


def bpf() -> str | None:
    """Load a program into the kernel."""
    return was_permitted(321, 280, 0, None, 0)


def performance_counters() -> str | None:
    """Watch the machine through its counters."""
    return was_permitted(298, 241, None, 0, -1, -1, 0)


def user_faults() -> str | None:
    """Stop the kernel in mid-copy, a tool of many exploits."""
    os.close(syscall(323, 282, 1))
    return "opened userfaultfd"


def io_uring() -> str | None:
    """Open the asynchronous interface that filters cannot look into."""
    return was_permitted(425, 425, 1, None)


def set_clock() -> str | None:
    """Set the clock of the machine (to the time that it shows)."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
    return "set the clock"


def load_module() -> str | None:
    """Load code into the kernel (here: nonsense)."""
    return was_permitted(175, 105, b"nonsense", 8, b"")


def new_kernel() -> str | None:
    """Start another kernel (here: with impossible flags)."""
    return was_permitted(246, 104, 0, 0, None, 0xFFFF)


def reboot() -> str | None:
    """Reboot (here: with the wrong magic numbers)."""
    return was_permitted(169, 142, 0, 0, 0, None)


def host_name() -> str | None:
    """Rename the machine (here: to the name it has)."""
    name = os.uname().nodename.encode()
    syscall(170, 161, name, len(name))
    return "set the host's name"


def raise_limit() -> str | None:
    """Raise the limit of file sizes."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY:
        return "there is no limit"
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard + 1, hard + 1))
    return "raised its own limit"


def real_time() -> str | None:
    """Take a core for itself."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "runs with real-time priority"


def more_cores() -> str | None:
    """Use cores that were not given."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    n = len(os.sched_getaffinity(0))
    return f"runs on {n} cores, was given one" if n > 1 else None


def other_calling_convention() -> str | None:
    """Call the kernel by another table than the one that the filter knows."""
    if os.uname().machine != "x86_64":
        return None
    syscall(0x40000000 | 39, 0)
    return "the x32 table answers"
