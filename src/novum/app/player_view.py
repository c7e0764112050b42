"""What the player draws: a line of the timeline, the page of an event, the line of keys."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.formatted_text.utils import split_lines
from prompt_toolkit.styles import Style
from rich.console import Console

from novum.app.numbers import duration
from novum.app.steps import detail_of, words_of
from novum.app.wording import MARKS, one_line
from novum.lab.records import Event

if TYPE_CHECKING:
    from novum.app.reading import Reading

COLOURS = {
    "verdict": "ansigreen", "proposal": "ansicyan", "answer": "ansimagenta",
    "dropped": "ansiyellow", "champion": "ansigreen bold", "directive": "ansiyellow",
    "trial.ended": "ansiblue", "answer.failed": "ansired", "fork": "ansiyellow bold",
}  # fmt: skip
QUIET = ("step", "id", "choice", "iteration", "facts", "evidence", "lesson")
STYLE = Style.from_dict(
    {
        "bar": "bg:ansibrightblack fg:ansiwhite",
        "bar.strong": "bold",
        "key": "bold fg:ansicyan",
        "quiet": "fg:ansibrightblack",
        "here": "reverse",
        "rule": "fg:ansibrightblack",
    }
)
KEYS = (
    ("↑↓", "step"), ("q", "leave"), ("v V", "verdicts"), ("[ ]", "ideas"), ("/ n N", "search"),
    ("tab", "detail"), (":", "jump"), ("f", "kind"), ("F", "follow"),
)  # fmt: skip
"""Most important first: a narrow terminal shows only the first ones."""


def row_of(event: Event, after_s: float, width: int, *, is_here: bool) -> StyleAndTextTuples:
    """An event of the timeline, so many seconds after the first one."""
    style = "class:quiet" if event.kind in QUIET else COLOURS.get(event.kind, "")
    mark = " "
    if event.kind == "verdict":
        mark = MARKS.get(str(event.payload.get("label")), (" ", ""))[0]
    head = f"{event.seq:>5} {duration(after_s):>8} "
    kind = f"{mark} {event.kind:<14} "
    words = one_line(words_of(event))[: max(0, width - len(head) - len(kind) - 1)]
    if is_here:
        return [("class:here", f"{head}{kind}{words}".ljust(width - 1) + "\n")]
    said = style if event.kind in QUIET else ""
    return [("class:quiet", head), (style, kind), (said, words + "\n")]


def page_of(one: Reading, event: Event, width: int) -> list[StyleAndTextTuples]:
    """Everything that an event stands for, in lines."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=True,
        color_system="standard",
        highlight=False,
        markup=False,
    )
    console.print(detail_of(one, event))
    return list(split_lines(to_formatted_text(ANSI(file.getvalue()))))


def keys_that_fit(width: int) -> StyleAndTextTuples:
    """The line at the bottom."""
    text: StyleAndTextTuples = []
    for key, words in KEYS:
        width -= len(f" {key} {words} ")
        if width < 0:
            break
        text += [("class:key", f" {key} "), ("class:quiet", f"{words} ")]
    return text
