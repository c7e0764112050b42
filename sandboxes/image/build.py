"""Build the image of the Docker provider.

`HOST` is empty: the provider binds the host's system and interpreter into it, read-only, so that a
trial runs the very packages that Novum runs with; it takes no time, no disk and no registry. `FULL`
carries its own interpreter, from the Dockerfile beside this file or from a root file system.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.errors import SandboxUnavailable, UsageError
from novum.sandboxes import interpreter
from novum.sandboxes.grants import container_user

if TYPE_CHECKING:
    from docker import DockerClient

HOST, FULL = "novum-sandbox:host", "novum-sandbox:full"
_LABEL = "novum.sandbox.image"
_LAYOUT_LABEL = "novum.sandbox.layout"
_EMPTY_FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "var", "root", "home", "opt")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the provider has to know of an image."""

    id: str
    is_host: bool
    """Whether the host's interpreter is bound into it."""


def facts(client: DockerClient, image: str) -> ImageFacts | None:
    """What `image` is; `None` when the engine has none of that name, or an outdated host image."""
    import docker.errors

    try:
        attributes: dict[str, Any] = client.api.inspect_image(image)
    except docker.errors.ImageNotFound:
        return None
    labels = (attributes.get("Config") or {}).get("Labels") or {}
    is_host = labels.get(_LABEL) == "host"
    if is_host and labels.get(_LAYOUT_LABEL) != _layout():
        return None
    return ImageFacts(attributes["Id"], is_host)


def build_host(client: DockerClient) -> ImageFacts:
    """Make the empty image; a second call makes the same one."""
    repository, tag = HOST.split(":")
    client.api.import_image_from_data(
        _empty_tar(),
        repository=repository,
        tag=tag,
        changes=[f"LABEL {_LABEL}=host {_LAYOUT_LABEL}={_layout()}", 'CMD ["/bin/sh"]'],
    )
    return _expect(client, HOST)


def build_full(
    client: DockerClient,
    base: str = "python:3.11-slim",
    packages: str = "numpy",
    rootfs: Path | None = None,
    name: str = FULL,
) -> ImageFacts:
    """Make the self-contained image from the Dockerfile, or from a folder or tar of a system.

    Raises:
        SandboxUnavailable: the engine could not build it; the message holds its last words.
        UsageError: `rootfs` has no python3.
    """
    if rootfs is not None:
        _import_rootfs(client, rootfs, name)
        return _expect(client, name)
    import docker.errors

    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(Path(__file__).parent / "Dockerfile", scratch)
        for name, text in _accounts().items():
            Path(scratch, name).write_text(text)
        try:
            client.images.build(
                path=scratch,
                tag=name,
                rm=True,
                buildargs={"BASE": base, "PACKAGES": packages},
            )
        except (docker.errors.BuildError, docker.errors.APIError) as error:
            raise SandboxUnavailable(
                f"the image could not be built from {base}: {error}.\n"
                "Where no registry can be reached, use --rootfs FOLDER, or the default image, "
                "which needs none: `novum sandbox build`."
            ) from error
    return _expect(client, name)


def _import_rootfs(client: DockerClient, rootfs: Path, name: str) -> None:
    repository, _, tag = name.partition(":")
    changes = [f"LABEL {_LABEL}=full", "ENV PYTHONDONTWRITEBYTECODE=1", 'CMD ["python3"]']
    if rootfs.is_dir():
        places = ("usr/bin/python3", "usr/local/bin/python3", "bin/python3")
        if not any(os.path.lexists(rootfs / place) for place in places):
            raise UsageError(
                f"{rootfs} has no python3 in usr/bin or usr/local/bin.\n"
                "Make one with, for example, `mmdebstrap --include=python3 SUITE FOLDER`."
            )
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(rootfs, arcname=".", filter=_without_devices)
            file.seek(0)
            client.api.import_image_from_data(file, repository=repository, tag=tag, changes=changes)
        return
    client.api.import_image_from_file(str(rootfs), repository=repository, tag=tag, changes=changes)


def _without_devices(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.isdev() else member


def _expect(client: DockerClient, image: str) -> ImageFacts:
    found = facts(client, image)
    if found is None:
        raise SandboxUnavailable(
            f"the engine reported no error and yet has no image {image}.\n"
            "Look at its log, then run `novum sandbox build` again."
        )
    return found


def _layout() -> str:
    """Which of the system's folders are links, and who runs inside: what the image depends on."""
    links = (f"{n}>{os.readlink(n)}" for n in interpreter.SYSTEM if os.path.islink(n))
    return ",".join((*links, str(container_user()[0]))).replace("/", "_")


def _accounts() -> dict[str, str]:
    uid, gid = container_user()
    return {
        "passwd": interpreter.PASSWD.format(uid=uid, gid=gid),
        "group": interpreter.GROUP.format(gid=gid),
    }


def _empty_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in _EMPTY_FOLDERS:
            tar.addfile(_member(name, tarfile.DIRTYPE, 0o755))
        for path in interpreter.SYSTEM:
            if os.path.islink(path):
                link = _member(path.lstrip("/"), tarfile.SYMTYPE, 0o777)
                link.linkname = os.readlink(path)
                tar.addfile(link)
            elif os.path.isdir(path):
                tar.addfile(_member(path.lstrip("/"), tarfile.DIRTYPE, 0o755))
        for name, text in _accounts().items():
            file = _member(f"etc/{name}", tarfile.REGTYPE, 0o644)
            file.size = len(text)
            tar.addfile(file, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member
