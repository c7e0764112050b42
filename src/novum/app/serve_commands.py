"""`serve`: a run in the browser, while it works or afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import Demo, Run, Runs
from novum.app.ports import DASHBOARD, HOST, bound
from novum.errors import UsageError

if TYPE_CHECKING:
    from novum.app.reading import Reading


def serve(
    run: Run = None,
    runs: Runs = None,
    demo: Demo = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DASHBOARD,
) -> None:
    """Show a run in the browser: curve, verdicts, candidates, timeline; add and end directives.

    It listens on 127.0.0.1 alone and reads the ledger beside the process that works on the run.

    Example: novum serve --demo
    """
    try:
        import uvicorn

        from novum.app.web.app import make_app
    except ImportError as error:
        raise UsageError(
            f"the dashboard needs the package {error.name}.\n`pip install 'novum[ui]'` installs it."
        ) from error
    from novum.app.web.watched import Watched

    with opened(run, runs, demo) as one:
        app = make_app(Watched(one, is_demo=demo))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        with closing(bound(port)) as door:
            at = door.getsockname()[1]
            print(f"{one.run.name} at http://{HOST}:{at}/ (Ctrl-C ends)", file=sys.stderr)
            uvicorn.Server(config).run(sockets=[door])


@contextmanager
def opened(run: str | None, runs: Path | None, demo: bool) -> Iterator[Reading]:
    """A run for reading, or the recorded one of the package.

    Raises:
        UsageError: both are asked for.
    """
    from novum.app.demo import demo_run
    from novum.app.reading import reading

    if not demo:
        with reading(run, runs) as one:
            yield one
        return
    if run is not None:
        raise UsageError("--demo shows the recorded run of the package; leave the name out.")
    with demo_run() as folder, reading(str(folder.path), folder.path) as one:
        yield one
