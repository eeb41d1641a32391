"""The live page over HTTP: its files for everybody, its data for who may watch."""

import asyncio
import contextlib
import json
import re

import aiohttp
from tests.support.waiting import until
from tests.unit.gateway.http.conftest import serving
from tests.unit.gateway.http.live_double import Page

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.http.live import _FILES
from llmrouter.gateway.identity.principal import Scope

WATCHER = frozenset({Scope.OBSERVE})


@contextlib.asynccontextmanager
async def opened(page=None, **more):
    async with serving(page=page or Page(), **more) as api, aiohttp.ClientSession() as http:
        yield api, lambda path, **how: http.get(f"http://{api.address}{path}", **how)


def bearing(key):
    return {"headers": {"authorization": f"Bearer {key}"}}


async def frame_in(answer):
    async for line in answer.content:
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    return None


async def test_the_page_and_its_parts_are_given_to_everybody_under_a_strict_policy():
    async with opened(anonymous="never") as (_, get):
        for name in ("", *(f"live/{path.name}" for path in _FILES.iterdir())):
            async with get(f"/{name}") as answer:
                assert answer.status == 200, name
                policy = answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'; script-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy


async def test_a_browser_that_has_a_part_already_gets_304():
    async with opened() as (_, get):
        async with get("/live/page.css") as answer:
            tag = answer.headers["etag"]
        async with get("/live/page.css", headers={"if-none-match": tag}) as again:
            assert (again.status, await again.read()) == (304, b"")


def test_nothing_of_the_page_comes_from_elsewhere_or_stands_inline():
    for path in _FILES.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn", text), path.name
    page = (_FILES / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)
    scripts = "".join(path.read_text() for path in _FILES.glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|new Function", scripts)


async def test_frames_come_as_events_to_who_is_on_this_machine():
    page = Page()
    async with opened(page) as (_, get), get("/live/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert (await frame_in(answer))["models_in_all"] == 0
        assert await frame_in(answer)


async def test_without_a_key_nobody_watches_where_keys_are_needed():
    async with opened(anonymous="never") as (api, get):
        for path in ("/live/events", "/live/choices/plan-0001"):
            async with get(path) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["code"] == "unauthenticated"
        for path in ("/live/events", "/live/choices/plan-0001"):
            async with get(path, **bearing(api.keys.new())) as answer:
                assert answer.status == 403
                assert "observe" in (await answer.json())["error"]["message"]
        key = api.keys.new(scopes=WATCHER)
        async with get("/live/events", **bearing(key)) as answer:
            assert (answer.status, (await frame_in(answer))["every"]) == (200, 1)


async def test_anonymous_callers_from_elsewhere_do_not_watch(monkeypatch):
    monkeypatch.setattr("llmrouter.gateway.identity.authentication.is_loopback", lambda _: False)
    async with opened(anonymous="always") as (_, get), get("/live/events") as answer:
        assert answer.status == 403


async def test_a_name_of_strangers_that_leads_here_shows_nothing_without_a_key():
    async with opened() as (api, get):
        async with get("/live/events", headers={"host": "evil.example"}) as answer:
            assert answer.status == 401
        key = api.keys.new(scopes=WATCHER)
        named = {"host": "router.example", "authorization": f"Bearer {key}"}
        async with get("/live/events", headers=named) as answer:
            assert answer.status == 200


async def test_a_key_that_is_revoked_stops_watching():
    async with opened(anonymous="never") as (api, get):
        key = api.keys.new(scopes=WATCHER)
        async with get("/live/events", **bearing(key)) as answer:
            assert await frame_in(answer)
            api.keys.kept.clear()
            told = [json.loads(line[6:]) async for line in answer.content if line.strip()]
        assert told[-1]["error"]["code"] == "unauthenticated"


async def test_more_pages_than_the_bound_are_refused_and_none_are_counted_once_gone():
    page = Page(most=1)
    async with opened(page) as (_, get):
        async with get("/live/events") as held:
            await frame_in(held)
            async with get("/live/events") as refused:
                assert refused.status == 429
                assert "gateway.page.watchers" in (await refused.json())["error"]["message"]
        await until(lambda: page.feed.watchers == 0)


async def test_the_streams_end_when_the_gateway_stops_so_that_a_drain_does_not_wait():
    page = Page()
    async with opened(page) as (api, get), get("/live/events") as answer:
        await frame_in(answer)
        page.feed.stop()
        await asyncio.wait_for(answer.content.read(), 10)
        await asyncio.wait_for(api.gate.wait_idle(), 10)


async def test_who_asks_for_headers_alone_takes_no_place():
    page = Page()
    async with (
        opened(page) as (api, _),
        aiohttp.ClientSession() as http,
        http.head(f"http://{api.address}/live/events") as answer,
    ):
        assert answer.status == 200
    assert (page.feed.watchers, page.gathered) == (0, 0)


async def test_a_choice_is_explained_to_who_may_watch():
    async with opened() as (_, get):
        async with get("/live/choices/plan-0001") as answer:
            assert (await answer.json())["plan"]["strategy"] == "balanced"
        async with get("/live/choices/none") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "unknown_plan")


async def test_a_gatherer_that_breaks_is_told_and_not_shown():
    page = Page()

    async def broken():
        raise RouterError(Reason.INTERNAL, "it broke")

    page.feed._gather = broken
    async with opened(page) as (_, get), get("/live/events") as answer:
        assert answer.status == 500


async def test_without_a_page_the_root_is_no_endpoint():
    async with (
        serving() as api,
        aiohttp.ClientSession() as http,
        http.get(f"http://{api.address}/") as answer,
    ):
        assert answer.status == 404
