"""The dashboard: what it shows, what it refuses, and the few things it may change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from html import unescape

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from novum.agents.approvals import answer_to, ask_for
from novum.app.ports import DASHBOARD, MCP, bound
from novum.app.reading import reading
from novum.app.web.app import Dashboard, make_app
from novum.app.web.watched import Watched
from novum.errors import UsageError
from novum.lab.records import Directive
from novum.lab.run import RunFolder

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture
def app(made_run: RunFolder) -> Iterator[Starlette]:
    with reading("demo", None) as one:
        yield make_app(Watched(one))


@pytest.fixture
def client(app: Starlette) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8765")


def token(client: TestClient) -> str:
    found = re.search(r'name="token" value="([^"]+)"', client.get("/").text)
    assert found is not None
    return found[1]


def test_the_overview_says_what_was_found_and_how(client: TestClient) -> None:
    text = client.get("/").text
    assert "2.8850 → 2.3450" in text and "confirmed" in text
    assert "<svg" in text and "sd over 5 seeds of the start" in text
    assert "Depth helps because features compose" in text


def test_the_frontier_ranks_what_won_and_lists_the_rest(client: TestClient) -> None:
    text = client.get("/frontier").text
    assert text.index("✔ champion") < text.index("All ideas") < text.index("A larger step")


def test_a_candidate_has_its_change_trials_and_verdicts(client: TestClient) -> None:
    text = client.get("/show/champion").text
    assert '<span class="added">+DEPTH = 4</span>' in text
    assert "on the sealed split" in text and "certification" in text
    assert client.get("/show/p0-0").text == text


def test_a_trial_shows_what_went_wrong(client: TestClient, made_run: RunFolder) -> None:
    with made_run.ledger(read_only=True) as ledger:
        crashed = next(t for t in ledger.trials() if t.error)
    text = client.get(f"/show/{crashed.id}").text
    assert "loss is nan" in text and "crashed" in text


def test_the_timeline_filters_searches_and_pages(client: TestClient) -> None:
    only = client.get("/timeline", params={"kind": "verdict"}).text
    assert only.count('class="kind k-verdict"') == 3 and "k-proposal" not in only
    found = client.get("/timeline", params={"q": "depth HELPS"}).text
    assert "Depth helps" in found and found.count('class="kind') < 5
    assert "No event is like that" in client.get("/timeline", params={"q": "zzz"}).text
    first = client.get("/timeline", params={"after": "0"}).text
    assert '<a href="/event/1">1</a>' in first


def test_one_event_shows_its_payload_and_its_place_in_the_chain(
    client: TestClient, made_run: RunFolder
) -> None:
    with made_run.ledger(read_only=True) as ledger:
        event = ledger.events(kinds=["verdict"])[0]
    text = client.get(f"/event/{event.seq}").text
    assert event.digest in text and event.previous in text
    assert client.get("/event/99999").status_code == 404


def test_what_does_not_exist_is_said_in_words(client: TestClient) -> None:
    answer = client.get("/show/p9-9")
    assert answer.status_code == 404 and "has nothing named" in answer.text
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/app.py").status_code == 404


@pytest.mark.parametrize("path", ["/", "/frontier", "/timeline", "/show/p1-0", "/timeline?q={}"])
def test_hostile_words_stay_words(client: TestClient, made_run: RunFolder, path: str) -> None:
    with made_run.ledger() as ledger:
        ledger.add_directive(Directive("d1", HOSTILE))
    answer = client.get(path.format(HOSTILE))
    assert "<script>alert" not in answer.text and "<img src=x" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_only_this_machine_is_answered(app: Starlette) -> None:
    stranger = TestClient(app, base_url="http://novum.example:8765")
    assert stranger.get("/").status_code == 403
    for host in ("localhost:8765", "127.0.0.1", "[::1]:8765"):
        assert TestClient(app, base_url=f"http://{host}").get("/").status_code == 200


def test_a_directive_is_added_and_withdrawn_with_the_token_of_the_page(
    client: TestClient, made_run: RunFolder
) -> None:
    form = {"token": token(client), "words": f"Try {HOSTILE}"}
    assert client.post("/act/directive", data=form).status_code == 200  # after the redirect
    with made_run.ledger(read_only=True) as ledger:
        (told,) = ledger.directives(standing=True)
    assert told.text == f"Try {HOSTILE}" and told.author == "dashboard"
    client.post("/act/withdraw", data={"token": form["token"], "words": told.id})
    client.post("/act/pause", data={"token": form["token"]})
    with made_run.ledger(read_only=True) as ledger:
        assert [d.action for d in ledger.directives(standing=True)] == [{"pause": True}]


@pytest.mark.parametrize("given", ["", "wrong", None])
def test_a_form_without_our_token_changes_nothing(
    client: TestClient, made_run: RunFolder, given: str | None
) -> None:
    form = {"words": "Stop."} | ({} if given is None else {"token": given})
    assert client.post("/act/directive", data=form).status_code == 403
    with made_run.ledger(read_only=True) as ledger:
        assert ledger.directives() == ()


def test_a_form_from_another_site_changes_nothing(client: TestClient) -> None:
    form = {"token": token(client), "words": "Stop."}
    sent = client.post("/act/stop", data=form, headers={"origin": "http://evil.example"})
    assert sent.status_code == 403
    assert client.get("/act/stop").status_code == 405


def test_a_mistake_in_a_form_is_said_in_words(client: TestClient) -> None:
    good = token(client)
    answer = client.post("/act/withdraw", data={"token": good, "words": "d77"})
    assert answer.status_code == 400 and "no directive" in answer.text
    assert client.post("/act/rm", data={"token": good}).status_code == 400
    long = client.post("/act/directive", data={"token": good, "words": "x" * 20_000})
    assert long.status_code == 413


def test_a_recording_cannot_be_steered(made_run: RunFolder) -> None:
    with reading("demo", None) as one:
        watched = Watched(one, is_demo=True)
        page = TestClient(make_app(watched), base_url="http://127.0.0.1").get("/")
        assert "<form" not in page.text and "recording" in page.text
        assert 'data-live="no"' in page.text


def test_a_port_that_is_taken_is_named_with_a_free_one() -> None:
    with closing(bound(0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 cannot be taken") as told:
            bound(port)
        offered = re.search(r"--port (\d+)", str(told.value))
        assert offered is not None and int(offered[1]) != port
    assert DASHBOARD != MCP


async def test_an_open_page_hears_of_new_events(made_run: RunFolder) -> None:
    class Asked:
        async def is_disconnected(self) -> bool:
            return False

    with reading("demo", None) as one:
        board = Dashboard(Watched(one))
        news = board._news(Asked())  # type: ignore[arg-type]
        first = await anext(news)
        assert first == f"data: {one.ledger.anchor().seq}\n\n"
        with made_run.ledger() as ledger:
            ledger.add_directive(Directive("d1", "Look."))
        second = await asyncio.wait_for(anext(news), 120)
        assert second == f"data: {one.ledger.anchor().seq}\n\n" != first
        await news.aclose()  # type: ignore[attr-defined]


def test_what_waits_for_a_yes_is_answered(client: TestClient, made_run: RunFolder) -> None:
    with made_run.ledger() as ledger:
        ask_for(ledger, "p0-1")
    page = client.get("/").text
    assert "Waiting for you" in page and "before its code is written" in page
    client.post("/act/refuse", data={"token": token(client), "words": "p0-1"})
    with made_run.ledger(read_only=True) as ledger:
        given = answer_to(ledger, "p0-1")
    assert given is not None and not given.is_approved
    assert "Waiting for you" not in client.get("/").text


def test_every_link_leads_to_a_page_and_none_out_of_this_machine(client: TestClient) -> None:
    seen: set[str] = set()
    ahead = ["/"]
    while ahead:
        path = ahead.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        found = {unescape(link) for link in re.findall(r'(?:href|src)="([^"]*)"', answer.text)}
        found.discard("data:,")
        assert all(link.startswith("/") and not link.startswith("//") for link in found), path
        ahead += sorted(found - seen)
        seen |= found
    assert {"/frontier", "/timeline", "/show/champion"} < seen and len(seen) > 40
