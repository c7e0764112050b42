"""What the command lines of all suites have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def parser_of(suite: str, doc: str | None) -> argparse.ArgumentParser:
    """The options of one suite; its module's docstring is its help, paragraph by paragraph."""
    return argparse.ArgumentParser(
        prog=f"novum eval {suite}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not smaller; argparse says what is wrong with another."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return read
