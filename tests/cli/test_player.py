"""The screen of `novum replay`: keys move, search, filter and follow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from novum.app.player import Player
from novum.app.reading import reading
from novum.app.steps import Stepper
from novum.lab.records import Directive
from novum.lab.run import RunFolder


class Wide(DummyOutput):
    def get_size(self) -> Size:
        return Size(rows=40, columns=150)


@pytest.fixture
def keyed(made_run: RunFolder) -> Iterator[Any]:
    """Plays keys on a player and returns it as they left it."""
    with reading("demo", None) as one, create_pipe_input() as pipe:

        async def play(*keys: str, fetch: Any = list) -> Player:
            player = Player(Stepper(one, one.ledger.events()), fetch, input=pipe, output=Wide())
            running = asyncio.ensure_future(player.app.run_async())
            for key in (*keys, "q"):
                await asyncio.sleep(0.05)
                pipe.send_text(key)
            await asyncio.wait_for(running, 120)
            return player

        yield play


async def test_keys_step_and_jump(keyed: Any) -> None:
    player = await keyed("j", "j", "k", ":", "9\r", "j")
    assert player.stepper.here.seq == 10
    player = await keyed("G", "j", "g", "j")
    assert player.stepper.here.seq == 2


async def test_v_goes_to_the_next_verdict_and_brackets_to_ideas(keyed: Any) -> None:
    player = await keyed("v", "v", "V")
    assert player.stepper.here.payload["label"] == "promising"
    player = await keyed("]", "]", "[")
    assert player.stepper.here.payload["id"] == "p0-0"
    player = await keyed("V")
    assert player.said == "there is none before"


async def test_a_search_and_a_filter_narrow_what_is_walked(keyed: Any) -> None:
    player = await keyed("/", "loss is nan\r")
    assert "loss is nan" in str(player.stepper.here.payload)
    player = await keyed("f", "verdict\r", "g", "j")
    rows = fragment_list_to_text(player._rows())
    assert player.stepper.here.payload["label"] == "hack" and rows.count("verdict") == 3
    player = await keyed("f", "nonsense\r")
    assert "there is no kind 'nonsense'" in player.said and player.stepper.kind == ""


async def test_the_detail_shows_the_change_and_scrolls(keyed: Any) -> None:
    player = await keyed("v", "\t", "j", "j", "j")
    text = "".join(fragment_list_to_text(line) for line in player._lines(100))
    assert "+DEPTH = 4" in text and "promising" in text
    assert player.scroll == 3 or player.scroll == max(0, len(player._lines(74)) - 37)


async def test_a_run_that_goes_on_is_followed(keyed: Any, made_run: RunFolder) -> None:
    new: list[Any] = []

    def fetch() -> list[Any]:
        if not new:
            with made_run.ledger() as ledger:
                new.append(ledger.add_directive(Directive("d1", "Look.")))
                return list(ledger.events(ledger.anchor().seq - 1))
        return []

    player = await keyed("F", fetch=fetch)
    assert player.stepper.here.kind == "directive" and player.follows


async def test_control_characters_of_a_candidate_never_reach_the_terminal(
    keyed: Any, made_run: RunFolder
) -> None:
    with made_run.ledger() as ledger:
        ledger.add_directive(Directive("d1", "clear \x1b[2J\x1b]0;title\x07 it"))
    player = await keyed("G")
    assert "\x1b" not in fragment_list_to_text(player._rows())
    lines = "".join(fragment_list_to_text(line) for line in player._lines(100))
    assert "\x1b" not in lines and "\x07" not in lines
