"""`novum sandbox ...`: build the Docker image, remove what dead runs left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

sandbox = typer.Typer(
    name="sandbox", help="Build and clean the Docker sandbox.", no_args_is_help=True
)


@sandbox.command()
def build(
    base: Annotated[
        str, typer.Option("--from", help="Build the full image on this one, with its own Python.")
    ] = "",
    packages: Annotated[
        str, typer.Option(help="What to install into the full image, as pip takes it.")
    ] = "numpy",
    rootfs: Annotated[
        Path | None,
        typer.Option(help="Folder or tar of a system with python3, where no registry is reached."),
    ] = None,
) -> None:
    """Build the image of the Docker sandbox.

    Without options: the default, an empty image into which the host's interpreter and libraries
    are bound read-only. It takes no time and needs no registry.

    Example: novum sandbox build --from python:3.11-slim --packages "numpy torch"
    """
    from novum.errors import UsageError
    from novum.sandboxes.docker import connect
    from novum.sandboxes.image import FULL, HOST, build_full, build_host

    if base and rootfs is not None:
        raise UsageError("--from and --rootfs are two ways to the same image: give one of them.")
    client = connect()
    if rootfs is not None:
        name, facts = FULL, build_full(client, rootfs=rootfs)
    elif base:
        name, facts = FULL, build_full(client, base, packages)
    else:
        name, facts = HOST, build_host(client)
    print(f"{name} {facts.id}")


@sandbox.command()
def clean() -> None:
    """Remove containers of runs that are no longer alive."""
    from novum.sandboxes.docker import DockerSandbox

    print(f"{DockerSandbox().reap()} containers removed")
