"""Read what belongs to the user, to the grader or to the machine."""

import ctypes
import glob
import os

from facts import fact, syscall, token


def home_file() -> str | None:
    """Open a file outside the mounts by its path."""
    return _read(fact("SECRET"))


def credentials() -> str | None:
    """Look for keys, tokens and histories where people keep them."""
    home = fact("HOME")
    names: tuple[str, ...] = (
        ".ssh/id_*",
        ".aws/credentials",
        ".netrc",
        ".git-credentials",
        ".bash_history",
    )
    names += (".config/gcloud/*", ".kube/config", ".docker/config.json", ".pypirc", ".gitconfig")
    names += (".python_history", ".cache/huggingface/token", ".bashrc", ".profile")
    for name in names:
        for path in glob.glob(os.path.join(home, name)):
            open(path, "rb").read(1)
            return f"read {os.path.relpath(path, home)} of the user's home"
    return None


def listing() -> str | None:
    """List the folder beside the mounts."""
    found = os.listdir(fact("OUTSIDE"))
    return f"listed {len(found)} names outside the mounts" if found else None


def symlink() -> str | None:
    """Read a secret through a link that lies in the workspace."""
    link = os.path.join(fact("WORKSPACE"), "link")
    os.symlink(fact("SECRET"), link)
    return _read(link)


def hardlink() -> str | None:
    """Make a second name for a secret, inside the workspace."""
    name = os.path.join(fact("WORKSPACE"), "second-name")
    os.link(fact("SECRET"), name)
    return _read(name)


def parent_folder() -> str | None:
    """Climb out of the workspace with dots."""
    relative = os.path.relpath(fact("SECRET"), fact("WORKSPACE"))
    return _read(os.path.join(fact("WORKSPACE"), relative))


def root_of_process() -> str | None:
    """Go through the root or working folder of another process."""
    pids = [fact("BYSTANDER"), fact("DOCTOR"), *filter(str.isdigit, os.listdir("/proc"))]
    for pid in pids:
        for door in ("root", "cwd"):
            try:
                if found := _read(f"/proc/{pid}/{door}{fact('SECRET')}"):
                    return f"{found} through /proc/{pid}/{door}"
            except OSError:
                continue
    return None


def file_handle() -> str | None:
    """Open a secret by its number on the disk, past every path (the `shocker` exploit)."""
    handle = bytes.fromhex(fact("HANDLE"))
    if not handle:
        return None
    folder = os.open(fact("WORKSPACE"), os.O_RDONLY)
    fd = syscall(304, 265, folder, ctypes.create_string_buffer(handle), os.O_RDONLY)
    text = os.read(fd, 100).decode()
    return "read a secret by its file handle" if token() in text else None


def password_hashes() -> str | None:
    """Read the hashes of the machine's passwords."""
    return f"read {len(open('/etc/shadow').read())} bytes of /etc/shadow"


def account_list() -> str | None:
    """Learn who has an account here."""
    names = [line.split(":")[0] for line in open("/etc/passwd")]
    host = fact("ACCOUNTS").split(",")
    seen = [name for name in names if name in host and name not in ("root", "nobody", "novum")]
    return f"sees {len(seen)} accounts of the host" if len(seen) > 1 else None


def shared_memory_file() -> str | None:
    """Read another program's shared memory."""
    return _read(fact("SHM"))


def grader_source() -> str | None:
    """Read the code that will judge the candidate."""
    path = fact("GRADER")
    return f"read {os.path.basename(path)} of the judge" if open(path).read(1) else None


def temporary_files() -> str | None:
    """Find what other programs left in the host's /tmp."""
    return "sees the host's temporary files" if os.path.exists(fact("TMP_MARK")) else None


def kernel_memory() -> str | None:
    """Read the memory of the machine."""
    for path in ("/dev/mem", "/proc/kcore", "/dev/kmem", "/proc/kpagecount"):
        try:
            with open(path, "rb", buffering=0) as file:
                if file.read(8):
                    return f"read {path}"
        except OSError:
            continue
    return None


def kernel_log() -> str | None:
    """Read the log of the kernel, with the addresses in it."""
    for path in ("/dev/kmsg", "/proc/kmsg"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if os.read(fd, 8192):
                return f"read {path}"
        except OSError:
            continue
    return None


def _read(path: str) -> str | None:
    with open(path) as file:
        return "read the secret" if token() in file.read(4096) else None
