"""What the pages and messages say of files, commands and options has to exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from novum.app.cli import app
from novum.app.eval_commands import suites

ROOT = Path(__file__).parents[1]
FOLDERS = ("agents", "benchmarks", "evals", "memory", "sandboxes", "tools")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
SPOKEN = re.compile(r"`(novum [^`\n]+)`")
CLI: Any = typer.main.get_command(app)


def files(ending: str, *, without: str) -> list[Path]:
    folders = ("docs", "src/novum/app", "src/novum/lab", *FOLDERS)
    found = [
        *ROOT.glob(f"*{ending}"),
        *(p for f in folders for p in (ROOT / f).rglob(f"*{ending}")),
    ]
    return sorted(p for p in found if without not in p.parts)


def pages() -> list[Path]:
    return files(".md", without="prompts")


def sources() -> list[Path]:
    return files(".py", without="corpus")


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_between_pages_lead_somewhere() -> None:
    wrong, n = [], 0
    for page in pages():
        for target in LINK.findall(without_blocks(page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            n += 1
            name, _, anchor = target.partition("#")
            other = (page.parent / name).resolve() if name else page
            is_there = other.exists() and (not anchor or anchor in anchors(other))
            if not is_there:
                wrong.append(f"{page.relative_to(ROOT)} links to {target}")
    assert n > 20
    assert not wrong, "\n".join(wrong)


def spoken() -> Iterator[tuple[str, str]]:
    """Commands in blocks and spans of the pages, and between backticks in messages."""
    for page in pages():
        text = page.read_text()
        where = str(page.relative_to(ROOT))
        for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;|\|| & ", line.removeprefix("$ ")):
                    if part.strip().startswith("novum "):
                        yield where, part.strip()
        yield from ((where, said) for said in SPOKEN.findall(without_blocks(text)))
    for path in sources():
        yield from ((str(path.relative_to(ROOT)), s) for s in SPOKEN.findall(path.read_text()))


def fault(said: str) -> str:
    """What is wrong with a command as written, or nothing."""
    try:
        words = shlex.split(said, comments=True)
    except ValueError:
        words = said.split()
    command = CLI
    rest = words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        if not re.fullmatch(r"[a-z]+", rest[0]):  # a placeholder
            return ""
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    if command.name == "eval":
        known = not rest or rest[0] in suites() or not re.fullmatch(r"[a-z_]+", rest[0])
        return "" if known else f"no suite {rest[0]!r}"
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}
    for word in rest:
        option = word.partition("=")[0].rstrip(",.")
        if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in options:
            return f"no option {option}"
    return ""


def test_commands_and_options_that_are_named_exist() -> None:
    found = list(spoken())
    wrong = [f"{where}: `{said}`: {why}" for where, said in found if (why := fault(said))]
    assert len(found) > 100
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "said", ["novum nosuch", "novum run --nosuch", "novum packs nosuch", "novum eval nosuch"]
)
def test_a_command_that_is_not_there_is_noticed(said: str) -> None:
    assert fault(said)
