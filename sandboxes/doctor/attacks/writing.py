"""Change something outside: files, the interpreter, settings of the kernel."""

import os
import stat
import sysconfig

from facts import fact


def absolute() -> str | None:
    """Write to a path outside the mounts."""
    return _write(os.path.join(fact("OUTSIDE"), "written"))


def dots() -> str | None:
    """Write past the workspace with dots."""
    relative = os.path.relpath(fact("OUTSIDE"), fact("WORKSPACE"))
    return _write(os.path.join(fact("WORKSPACE"), relative, "written"))


def through_link() -> str | None:
    """Write through a link to a folder outside."""
    link = os.path.join(fact("WORKSPACE"), "folder")
    os.symlink(fact("OUTSIDE"), link)
    return _write(os.path.join(link, "written"))


def move_out() -> str | None:
    """Move a file of the workspace outside."""
    _write(os.path.join(fact("WORKSPACE"), "payload"))
    os.rename(os.path.join(fact("WORKSPACE"), "payload"), os.path.join(fact("OUTSIDE"), "written"))
    return "moved a file out"


def input_file() -> str | None:
    """Overwrite a read-only input."""
    with open(os.path.join(fact("INPUTS"), "input.txt"), "w") as file:
        file.write("changed")
    return "changed an input"


def input_mode() -> str | None:
    """Make the input writable first."""
    path = os.path.join(fact("INPUTS"), "input.txt")
    os.chmod(path, 0o666)
    return "changed the mode of an input"


def input_by_process() -> str | None:
    """Reopen an input for writing through /proc/self/fd."""
    fd = os.open(os.path.join(fact("INPUTS"), "input.txt"), os.O_RDONLY)
    with open(f"/proc/self/fd/{fd}", "w") as file:
        file.write("changed")
    return "changed an input through /proc"


def input_rename() -> str | None:
    """Replace an input by a file of one's own."""
    own = os.path.join(fact("WORKSPACE"), "own")
    _write(own)
    os.replace(own, os.path.join(fact("INPUTS"), "input.txt"))
    return "replaced an input"


def interpreter() -> str | None:
    """Plant a file where every later Python would look (here: one that does nothing)."""
    return _write(os.path.join(sysconfig.get_path("purelib"), fact("MARK")))


def standard_library() -> str | None:
    """Plant a file in the standard library."""
    return _write(os.path.join(os.path.dirname(os.__file__), fact("MARK")))


def system() -> str | None:
    """Plant a file among the system's programs."""
    for folder in ("/usr/local/bin", "/usr/lib", "/etc", "/"):
        try:
            return _write(os.path.join(folder, fact("MARK")))
        except OSError:
            continue
    return None


def start_files() -> str | None:
    """Append to the files that the user's shell reads at its start (here: nothing is added)."""
    for name in (".bashrc", ".profile", ".zshrc", ".config/fish/config.fish"):
        path = os.path.join(fact("HOME"), name)
        if os.path.exists(path):
            with open(path, "a"):
                return f"may write {name}"
    return None


def kernel_settings() -> str | None:
    """Change a setting of the kernel (here: to the value that it has)."""
    for name in ("core_pattern", "modprobe", "hostname"):
        path = f"/proc/sys/kernel/{name}"
        try:
            value = open(path).read()
            with open(path, "w") as file:
                file.write(value)
            return f"may set {path}"
        except OSError:
            continue
    return None


def sysrq() -> str | None:
    """Reach the switch that reboots the machine (opened, never written)."""
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "may write /proc/sysrq-trigger"


def cgroup() -> str | None:
    """Reach the control groups: whoever writes there sets his own limits."""
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        if "cgroup.procs" in files:
            os.close(os.open(os.path.join(folder, "cgroup.procs"), os.O_WRONLY))
            return f"may write {folder}/cgroup.procs"
    return None


def set_user_id() -> str | None:
    """Leave a program behind that runs as its owner, whoever starts it on the host."""
    path = os.path.join(fact("WORKSPACE"), "suid")
    _write(path)
    os.chmod(path, 0o4755)
    return "set the bit" if os.stat(path).st_mode & stat.S_ISUID else None


def set_user_id_at_birth() -> str | None:
    """The same, by creating the file with the bit."""
    path = os.path.join(fact("WORKSPACE"), "suid")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o6755))
    return "set the bit" if os.stat(path).st_mode & stat.S_ISUID else None


def device_left_behind() -> str | None:
    """Leave the node of a disk in the workspace."""
    os.mknod(os.path.join(fact("WORKSPACE"), "disk"), stat.S_IFBLK | 0o666, os.makedev(254, 0))
    return "made a device node"


def system_program() -> str | None:
    """Overwrite a program that the host would run next (here: open, write nothing)."""
    os.close(os.open("/usr/bin/env", os.O_WRONLY))
    return "may write a program of the system"


def _write(path: str) -> str | None:
    with open(path, "w") as file:
        file.write("written by an attack of the doctor\n")
    return f"wrote {os.path.basename(path)}"
