"""What the command lines of all suites have in common."""

from __future__ import annotations

import argparse


def parser_of(suite: str, doc: str | None) -> argparse.ArgumentParser:
    """The options of one suite; its module's docstring is its help, paragraph by paragraph."""
    return argparse.ArgumentParser(
        prog=f"novum eval {suite}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
