"""Looking at a run: status, show, report, the live picture; on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from novum.app.cli import app
from novum.app.lines import plain_lines
from novum.app.live import Screen
from novum.app.numbers import MetricName, duration
from novum.app.story import Story, read_story
from novum.app.wording import benchmark_of, used_of
from novum.lab.run import RunFolder

from .conftest import begin


def novum(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_status_ends_with_the_result_the_folder_and_what_to_type_next(made_run: RunFolder) -> None:
    said = novum("status")
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    confirmed = next(line for line in lines if line.startswith("Confirmed"))
    assert "2.8850 -> 2.3450, 18.7 % better" in confirmed
    assert "interval +15.3 to +22.2 %, p = 0.002" in confirmed
    assert "3 ideas tried in 16 trials" in said.stdout
    assert lines[-1].split() == "Next novum report demo novum show champion demo".split()


def test_a_run_whose_budget_went_for_the_start_says_that_no_idea_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = begin(tmp_path / "runs", "short")
    with run.ledger() as ledger:
        ledger.append("session", {"pid": 1}, "session:0/begin")
        ledger.append("session", {"reason": "the time is over"}, "session:0/end")
    said = novum("status", "short").stdout
    assert "No idea was tried" in said and "Nothing better" not in said
    assert "0 ideas tried in 0 trials" in said and "novum resume short --wall TIME" in said
    assert novum("report", "short").exit_code == 0
    assert "No idea was tried" in (run.path / "report.html").read_text()


def test_status_of_a_run_that_is_worked_on_points_at_watching_it(made_run: RunFolder) -> None:
    with made_run.lock():
        said = novum("status").stdout
    assert "process" in said.splitlines()[0]
    assert "novum status demo --follow" in said.splitlines()[-1]


def test_status_as_json_is_one_object(made_run: RunFolder) -> None:
    facts = json.loads(novum("status", "demo", "--json").stdout)
    assert facts["state"] == "confirmed"
    assert facts["gain"] == pytest.approx(0.54 / 2.885)
    assert facts["counts"]["trials.crashed"] == 1
    assert facts["holder"] is None


def test_status_all_has_a_line_for_every_run(made_run: RunFolder) -> None:
    assert novum("status", "--all").stdout.split()[:3] == ["demo", "confirmed", "+18.7"]


def test_status_verifies_the_records_and_finds_an_edit(made_run: RunFolder) -> None:
    assert novum("status", "--verify").exit_code == 0
    with closing(sqlite3.connect(made_run.ledger_path)) as raw:
        raw.execute("UPDATE trials SET body = replace(body, '2.35', '1.35')")
        raw.commit()
    said = novum("status", "--verify")
    assert said.exit_code == 1
    assert "LedgerCorrupt: table trials, row t" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("name", ["champion", "p0-0", "#1", "1", "best", "v-p0-0"])
def test_show_finds_a_candidate_by_any_of_its_names(made_run: RunFolder, name: str) -> None:
    said = novum("show", name)
    assert said.exit_code == 0, said.stderr
    assert "Depth helps because features compose" in said.stdout
    assert "-DEPTH = 2" in said.stdout
    assert "+DEPTH = 4" in said.stdout
    assert "t 4.2 reached the bound" in said.stdout
    assert "Final test certify-1" in said.stdout
    assert re.search(r"t7 +#1 +race +search +2.3100 +2.3", said.stdout), "claimed beside observed"


def test_show_trial_tells_what_was_observed_claimed_and_printed(made_run: RunFolder) -> None:
    said = novum("show", "t12").stdout
    assert "crashed" in said
    assert "loss is nan" in said
    assert "step 2" in said
    assert "suffix pass" in said


def test_show_start_and_words_that_look_like_markup(made_run: RunFolder) -> None:
    assert "sd over 5 seeds 0.0288" in novum("show", "start").stdout
    said = novum("show", "p1-0").stdout
    assert "<script>alert(1)</script> & peek at [bold]the answer" in said
    assert "reads the next token" in said


def test_show_as_json_holds_the_same_facts(made_run: RunFolder) -> None:
    facts = json.loads(novum("show", "champion", "--json").stdout)
    assert facts["candidate"]["summary"] == "Change train.py"
    assert {v["label"] for v in facts["verdicts"]} == {"promising", "confirmed"}
    assert len(facts["evidence"]) == 2
    assert facts["diff"].startswith("diff --git")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "t99"], "has nothing named 't99'. Did you mean"),
        (["show", "zzz"], "Names are: champion, best, start"),
        (["status", "other"], "There is: demo."),
        (["report", "dem"], "no run 'dem' in"),
        (["report", "dem"], "Did you mean demo?"),
        (["status", "/"], "/ is no run: a run is a folder with a run.toml."),
    ],
)
def test_an_unknown_name_is_bad_usage_and_says_what_there_is(
    made_run: RunFolder, words: list[str], message: str
) -> None:
    said = novum(*words)
    assert said.exit_code == 2
    assert message in said.stderr
    assert "Traceback" not in said.stderr


class Page(HTMLParser):
    """Collects what a page loads and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.scripts += tag == "script"
        self.loads += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_whole_file_that_loads_nothing_and_runs_nothing(
    made_run: RunFolder, tmp_path: Path
) -> None:
    said = novum("report", "-o", str(tmp_path / "out" / "r.html"))
    assert said.exit_code == 0, said.stderr
    text = (tmp_path / "out" / "r.html").read_text()
    page = Page()
    page.feed(text)
    assert (page.open, page.loads, page.scripts) == ([], [], 0)
    assert "2.8850 → 2.3450, 18.7 % better" in text
    assert text.count("<svg") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; peek" in text
    assert made_run.info["seed_commitment"] in text
    assert made_run.nonce not in text
    assert "It is the best of 3 ideas" in text


def test_a_picture_of_a_run_that_nobody_works_on_says_nothing_of_now(made_run: RunFolder) -> None:
    with made_run.ledger(read_only=True) as ledger:
        story = read_story(made_run.info, ledger)
    later = story.last_s + 1e6
    screen = Screen(story, "nanochat", 2, 2, 15.0, hint="", is_busy=False, clock=later)
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(screen, height=24)
    text = console.export_text()
    assert "best 2.3300" in text and "unconfirmed" not in text
    assert "(+19.0 %) · confirmed +18.7 %" in text  # the second is of data no search has seen
    assert not any(words in text for words in ("now", "thread", "slot", "Ctrl-C"))
    assert duration(story.wall_s) in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_the_heading_of_the_curve_is_cut_between_facts_and_never_in_one(
    made_run: RunFolder, width: int
) -> None:
    with made_run.ledger(read_only=True) as ledger:
        story = read_story(made_run.info, ledger)
    console = Console(width=width, height=24, file=io.StringIO(), record=True)
    console.print(Screen(story, "nanochat", 2, 2, is_busy=False), height=24)
    heading = console.export_text().splitlines()[1]
    facts = [
        "best 2.3300 ± 0.0566 (+19.0 %)",
        "confirmed +18.7 %",
        "start 2.8760, sd over seeds 0.0288",
    ]
    shown = [fact for fact in heading.strip("╭╮─ ").split(" · ")[1:]]
    assert shown == facts[: len(shown)] or shown == [*facts[:2], "start 2.8760"]
    assert len(shown) == {40: 0, 60: 1, 80: 2, 100: 3, 160: 3}[width]


def test_a_run_that_was_killed_and_resumed_the_next_day_is_drawn_over_the_time_it_worked(
    made_run: RunFolder,
) -> None:
    with made_run.ledger(read_only=True) as ledger:
        events = list(ledger.events())
    opened = next(e for e in events if e.kind == "session")
    begin, day_s = float(int(opened.at_s)), 86_400.0
    mine = [e for e in events if e.kind != "session"]
    first = [replace(e, at_s=begin + i) for i, e in enumerate(mine)]
    killed = [replace(opened, at_s=begin), *first[:20]]
    resumed = replace(opened, key="session:1/begin", at_s=begin + day_s)
    story = Story(MetricName.of(made_run.info), made_run.info)
    story.update([*killed, resumed, *(replace(e, at_s=e.at_s + day_s) for e in first[20:])])
    assert story.wall_s == 19 + len(mine) - 1  # the day between is nobody's work
    assert story.worked_at(begin + day_s / 2) == 19
    assert story.worked_at(story.last_s) == story.wall_s
    assert max(story.worked_at(t.ended_s) for t in story.trials.values()) <= story.wall_s


def test_the_next_command_names_a_run_so_that_it_is_found_from_here(
    made_run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = novum("status").stdout
    assert f"Next      novum report {made_run.name}" in said
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = novum("status", "--runs", str(made_run.path.parent)).stdout
    assert f"Next      novum report {made_run.path}" in said


def test_what_a_trial_measured_is_said_by_name(made_run: RunFolder) -> None:
    with made_run.ledger(read_only=True) as ledger:
        events = ledger.events()
        story = read_story(made_run.info, ledger)
    said = "\n".join(plain_lines(story, list(events)))
    assert "t1 noise of start: 2.8700" in said
    assert "race of #1: 2.3100" in said
    assert "race of start against #1: 2.8800" in said
    assert "certification of #1: 2.3300" in said
    deep = story.ideas["p0-0"].tree
    assert f"champion #1 ({deep[:10]})" in said
    assert story.in_words(f"{deep[:10]} beats 0123456789") == "#1 beats 0123456789"


def test_a_confirmed_run_that_was_interrupted_says_how_to_go_on(made_run: RunFolder) -> None:
    with made_run.ledger() as ledger:
        ledger.append("session", {"pid": 1}, "session:1/begin")
        ledger.append("session", {"reason": "interrupted", "is_interrupted": True}, "session:1/end")
    said = novum("status")
    assert "Confirmed: " in said.stdout
    assert "novum resume demo" in said.stdout


def test_what_goes_over_a_limit_is_told_apart_from_it() -> None:
    assert used_of("wall_s", 725.0, 2880.0) == "12:05 of 48:00"
    assert used_of("wall_s", 3119.0, 2880.0) == "48:00 + 3:59 to finish"
    assert used_of("tokens", 1500.0, 1000.0) == "1,000 + 500 to finish"


def test_the_live_picture_shows_best_threads_slots_and_verdicts(made_run: RunFolder) -> None:
    with made_run.ledger(read_only=True) as ledger:
        story = read_story(made_run.info, ledger)
    screen = Screen(story, "nanochat", 2, 2, 15.0, {"experiments": 3.0}, clock=story.last_s)
    for width, height in ((110, 40), (80, 24), (40, 15), (200, 60)):
        console = Console(width=width, height=height, file=io.StringIO(), record=True)
        console.print(screen, height=height)
        text = console.export_text()
        assert all(len(line) <= width for line in text.splitlines())
        assert text.count("\n") <= height + 1
        if width >= 80:
            assert "best 2.3300" in text
            assert "✖ hack" in text
            assert "slot 1" in text
            assert "3 of 3" in text


def test_every_picture_of_a_report_can_be_moved_by_keys_where_the_page_is_narrow(
    made_run: RunFolder, tmp_path: Path
) -> None:
    assert novum("report", "-o", str(tmp_path / "r.html")).exit_code == 0
    text = (tmp_path / "r.html").read_text()
    assert text.count('<div class="plot" tabindex="0"') == text.count("<svg") == 3


def test_a_run_on_text_of_ones_own_says_so_wherever_it_is_named() -> None:
    info = {"benchmark": "nanochat", "profile": "cpu", "settings": {"benchmark": "nanochat"}}
    assert benchmark_of(info) == "nanochat, profile cpu"
    info["settings"] = {"benchmark": "nanochat:text:/my/books"}
    assert benchmark_of(info) == "nanochat on text:/my/books, profile cpu"
