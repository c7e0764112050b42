"""`novum replay` on a terminal: a run's events on the left, what the chosen one holds on the right.

The stepper knows where one stands and what is shown; here it is drawn and keys are bound. A run
that is still worked on is followed: new events come in while one looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import ConditionalContainer, HSplit, Layout, VSplit, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import Output

from novum.app.numbers import duration
from novum.app.player_view import STYLE, keys_that_fit, page_of, row_of
from novum.lab.records import Event

if TYPE_CHECKING:
    from novum.app.reading import Reading
    from novum.app.steps import Stepper

FOLLOW_S = 1.0
WIDE = 110
"""Columns from which the detail stands beside the timeline and not below it."""


class Player:
    """The screen over a stepper."""

    def __init__(
        self,
        stepper: Stepper,
        fetch: Callable[[], list[Event]],
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self.stepper = stepper
        self.fetch = fetch
        self.follows = False
        self.said = ""
        self.words = ""
        self.ask = ""
        """What the line at the bottom asks for: `search`, `kind` or `event`; empty when nothing."""
        self.first = 0
        self.scroll = 0
        self._detail: tuple[int, int, list[StyleAndTextTuples]] = (-1, 0, [])
        self.entry = Buffer(multiline=False, accept_handler=self._accept)
        self.timeline = _pane(self._rows)
        self.detail = _pane(self._page)
        self.app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            refresh_interval=FOLLOW_S,
            before_render=self._before,
            input=input,
            output=output,
        )

    def run(self) -> None:
        """Show it until its user leaves."""
        self.app.run()

    # --- drawing ---

    def _layout(self) -> Layout:
        is_wide = Condition(lambda: self.app.output.get_size().columns >= WIDE)
        beside = VSplit([self.timeline, Window(width=1, char="│", style="class:rule"), self.detail])
        below = HSplit([self.timeline, Window(height=1, char="─", style="class:rule"), self.detail])
        asks = Condition(lambda: bool(self.ask))
        prompt = BufferControl(self.entry, [BeforeInput(lambda: f" {self.ask}: ")])
        return Layout(
            HSplit(
                [
                    Window(FormattedTextControl(self._title), height=1, style="class:bar"),
                    ConditionalContainer(beside, is_wide),
                    ConditionalContainer(below, ~is_wide),
                    ConditionalContainer(Window(prompt, height=1), asks),
                    ConditionalContainer(Window(FormattedTextControl(self._help), height=1), ~asks),
                ]
            ),
            focused_element=self.timeline,
        )

    def _title(self) -> StyleAndTextTuples:
        stepper = self.stepper
        began_s = stepper.events[0].at_s
        text: StyleAndTextTuples = [
            ("class:bar.strong", f" novum replay  {stepper.one.run.name} "),
            ("", f" event {stepper.here.seq} of {len(stepper.events)}"),
            ("", f"  ·  {duration(max(0.0, stepper.here.at_s - began_s))}"),
        ]
        if stepper.kind:
            text.append(("class:bar.strong", f"  ·  only {stepper.kind}"))
        if self.words:
            text.append(("", f"  ·  /{self.words}"))
        if self.follows:
            text.append(("class:bar.strong", "  ·  following"))
        return text

    def _help(self) -> StyleAndTextTuples:
        if self.said:
            return [("fg:ansiyellow", f" {self.said}")]
        return keys_that_fit(self.app.output.get_size().columns)

    def _before(self, _: Application[None]) -> None:
        if new := self.fetch():
            self.stepper.events = [*self.stepper.events, *new]
            if self.follows:
                self.stepper.last()

    def _rows(self) -> StyleAndTextTuples:
        info = self.timeline.render_info
        height = info.window_height if info else 24
        width = info.window_width if info else 80
        shown = self.stepper.shown()
        at = self.stepper.place_in(shown)
        if not self.first <= at < self.first + height:
            self.first = max(0, at - height // 2)
        self.first = max(0, min(self.first, at, max(0, len(shown) - height)))
        lines: StyleAndTextTuples = []
        for place in range(self.first, min(len(shown), self.first + height)):
            event = self.stepper.events[shown[place]]
            after_s = max(0.0, event.at_s - self.stepper.events[0].at_s)
            lines += row_of(event, after_s, width, is_here=place == at)
        return lines

    def _page(self) -> StyleAndTextTuples:
        info = self.detail.render_info
        width, height = (info.window_width, info.window_height) if info else (80, 24)
        lines = self._lines(max(20, width - 2))
        self.scroll = max(0, min(self.scroll, len(lines) - height))
        text: StyleAndTextTuples = []
        for line in lines[self.scroll : self.scroll + height]:
            text += [("", " "), *line, ("", "\n")]
        return text

    def _lines(self, width: int) -> list[StyleAndTextTuples]:
        event = self.stepper.here
        if self._detail[:2] != (event.seq, width):
            lines = page_of(self.stepper.one, event, width)
            self._detail = (event.seq, width, lines)
        return self._detail[2]

    # --- keys ---

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        walking = ~has_focus(self.entry)
        reading = has_focus(self.detail)

        def bind(*names: str, to: Callable[[], object], when: object = walking) -> None:
            for name in names:

                @keys.add(name, filter=when)  # type: ignore[arg-type]
                def _(event: KeyPressEvent) -> None:
                    if to != self.leave:  # what was said last stays
                        self.said = ""
                    to()

        stepper = self.stepper
        listing = walking & ~reading
        bind("down", "j", "enter", to=lambda: self._step(1), when=listing)
        bind("up", "k", to=lambda: self._step(-1), when=listing)
        bind("pagedown", "space", to=lambda: self._step(self._height()), when=listing)
        bind("pageup", to=lambda: self._step(-self._height()), when=listing)
        bind("down", "j", to=lambda: self._read(1), when=reading)
        bind("up", "k", to=lambda: self._read(-1), when=reading)
        bind("pagedown", "space", to=lambda: self._read(20), when=reading)
        bind("pageup", to=lambda: self._read(-20), when=reading)
        bind("home", "g", to=lambda: self._go(stepper.first))
        bind("end", "G", to=lambda: self._go(stepper.last))
        bind("v", to=lambda: self._seek(1, lambda e: e.kind in ("verdict", "dropped")))
        bind("V", to=lambda: self._seek(-1, lambda e: e.kind in ("verdict", "dropped")))
        bind("]", to=lambda: self._seek(1, lambda e: e.kind == "proposal"))
        bind("[", to=lambda: self._seek(-1, lambda e: e.kind == "proposal"))
        bind("n", to=lambda: self._seek(1, self._matches))
        bind("N", to=lambda: self._seek(-1, self._matches))
        bind("/", to=lambda: self._question("search"))
        bind("f", to=lambda: self._question("kind"))
        bind(":", to=lambda: self._question("event"))
        bind("F", to=self._follow)
        bind("tab", to=self._other_side)
        bind("q", "c-c", "c-d", to=self.leave)
        bind("escape", "c-c", to=self._no_question, when=has_focus(self.entry))
        return keys

    def leave(self) -> None:
        """Leave."""
        self.app.exit()

    def _step(self, n: int) -> None:
        shown = self.stepper.shown()
        at = self.stepper.place_in(shown) + n
        if shown:
            self.stepper.position = shown[max(0, min(len(shown) - 1, at))]
        self.scroll, self.follows = 0, False

    def _height(self) -> int:
        info = self.timeline.render_info
        return max(1, info.window_height - 2) if info else 20

    def _read(self, n: int) -> None:
        self.scroll = max(0, self.scroll + n)

    def _go(self, to: Callable[[], object]) -> None:
        to()
        self.scroll = 0

    def _seek(self, step: int, is_meant: Callable[[Event], bool]) -> None:
        if self.stepper.seek(step, is_meant) is None:
            self.said = "there is none further on" if step > 0 else "there is none before"
        self.scroll, self.follows = 0, False

    def _matches(self, event: Event) -> bool:
        return bool(self.words) and self.stepper.holds(event, self.words)

    def _follow(self) -> None:
        self.follows = not self.follows
        if self.follows:
            self.stepper.last()

    def _other_side(self) -> None:
        side = self.detail if self.app.layout.has_focus(self.timeline) else self.timeline
        self.app.layout.focus(side)

    def _question(self, what: str) -> None:
        self.ask = what
        self.entry.reset()
        self.app.layout.focus(self.entry)

    def _no_question(self) -> None:
        self.ask = ""
        self.app.layout.focus(self.timeline)

    def _accept(self, buffer: Buffer) -> bool:
        what, text = self.ask, buffer.text.strip()
        self._no_question()
        self.scroll = 0
        match what:
            case "search":
                self.words = text
                if text:
                    self._seek(1, self._matches)
            case "kind":
                self.said = (
                    self.stepper.only(text) if text not in ("", "all") else self.stepper.only("")
                )
            case "event":
                self.said = self.stepper.jump(text)
        return False


def _pane(draw: Callable[[], StyleAndTextTuples]) -> Window:
    """Half of the screen, whatever is drawn in it."""
    half = Dimension(min=4, preferred=4, weight=1)
    return Window(FormattedTextControl(draw, focusable=True), width=half, height=half)


def play(one: Reading, events: tuple[Event, ...]) -> None:
    """Show a run from its first event until its user leaves."""
    from novum.app.steps import Stepper

    one.story.follow(one.ledger)

    def fetch() -> list[Event]:
        new = one.ledger.events(stepper.events[-1].seq)
        one.story.update(e for e in new if e.seq > one.story.seq)
        return list(new)

    stepper = Stepper(one, events)
    Player(stepper, fetch).run()
