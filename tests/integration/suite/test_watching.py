"""`top` and `doctor` beside a running suite, and beside none."""

import asyncio
import json

import aiohttp
import pytest
from tests.support.ports import free_ports
from tests.unit.cli.driving import lines, run

from llmrouter import suite
from llmrouter_client import AsyncClient


@pytest.fixture(autouse=True)
def settings(config, monkeypatch):
    """Commands find the suite where its settings put it."""
    monkeypatch.setenv("LLMROUTER_CONFIG", str(config[0]))


async def told(*arguments):
    return await asyncio.to_thread(run, *arguments)


async def ask(address):
    async with AsyncClient(address) as client:
        return await client.generate("abcd", temperature=0.0, max_tokens=8)


async def test_top_shows_who_answered_and_why_and_what_came_of_it(config):
    async with suite.running(config[0]) as addresses:
        answer = await ask(addresses.gateway)
        shown = (await told("top", "--count", "1")).stdout
        [first, second] = lines(await told("top", "--json", "--count", "2", "--interval", "0.2"))
    assert answer.reason in " ".join(shown.split())
    for fact in ("last minute 1 attempts", "tiny", "answered", "memory"):
        assert fact in shown, fact
    [choice] = first["choices"]
    assert (choice["order"][0]["model"], choice["reason"]) == ("tiny", answer.reason)
    [rate] = second["rates"]
    assert (rate["model"], rate["tokens_per_second"]) == ("tiny", 0.0)
    assert first["rates"] == []
    assert first["away"] == {}


async def test_top_goes_on_without_services_that_are_away_and_names_them():
    [seen] = lines(await told("top", "--json", "--count", "1"))
    assert set(seen["away"]) == {"selector", "cache", "inference"}
    assert seen["away"]["selector"].startswith("no selector answers at ")


async def test_doctor_finds_a_running_suite_well(config):
    async with suite.running(config[0]):
        result = await told("doctor", "--json")
    [report] = lines(result)
    assert result.exit_code == 0, report
    found = {one["check"]: one for one in report["checks"]}
    for service in ("gateway", "selector", "cache", "inference"):
        assert found[service]["state"] == "ok"
        assert "serves at" in found[service]["said"]
    for check in ("packages", "engine", "configuration", "models", "routing"):
        assert found[check]["state"] == "ok", found[check]


async def test_doctor_says_what_to_do_where_nothing_runs(config):
    shown = (await told("doctor")).stdout
    assert "not running" in shown
    assert "→ llmrouter gateway" in shown


async def test_doctor_tells_a_stranger_on_a_port_from_a_service(config):
    _, ports = config

    async def greet(reader, writer):
        writer.close()

    stranger = await asyncio.start_server(greet, "127.0.0.1", ports["selector"])
    async with stranger:
        result = await told("doctor", "--json")
    [report] = lines(result)
    assert result.exit_code == 1
    [wrong] = [one for one in report["checks"] if one["state"] == "failed"]
    assert wrong["check"] == "selector"
    assert "something else listens" in wrong["said"]
    assert "selector.port" in wrong["remedy"]


async def test_doctor_names_what_is_wrong_with_settings_models_and_what_is_dialled(
    config, tmp_path
):
    path, _ = config
    [port] = free_ports(1)
    body = json.loads(path.read_text())
    body["inference"]["store"] = str(tmp_path)
    body["inference"]["providers"] = [
        {"name": "far", "base_url": f"http://127.0.0.1:{port}/v1", "models": [{"name": "m"}]},
        {
            "name": "keyless",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "api_key_file": str(tmp_path / "key"),
            "models": [{"name": "n"}],
        },
    ]
    body["telemetry"] = {"otlp_endpoint": f"http://127.0.0.1:{port}"}
    path.write_text(json.dumps(body))
    [report] = lines(await told("doctor", "--json"))
    states = {(one["check"], one["state"]) for one in report["checks"]}
    assert {("models", "warning"), ("telemetry", "warning")} <= states
    assert {("provider", "warning"), ("provider", "failed")} <= states
    body["gateway"]["prot"] = 1
    path.write_text(json.dumps(body))
    [report] = lines(await told("doctor", "--json"))
    [wrong] = [one for one in report["checks"] if one["state"] == "failed"]
    assert "prot" in wrong["said"]


async def test_the_live_page_is_told_of_a_request_why_and_where_its_time_went(config):
    async with suite.running(config[0]) as addresses, aiohttp.ClientSession() as http:
        answer = await ask(addresses.gateway)
        base = f"http://{addresses.http}"
        async with http.get(f"{base}/live/events") as events:
            frame = await next_frame(events)
            for _ in range(20):  # the outcome is reported behind the answer
                if frame["choices"][0]["outcomes"]:
                    break
                frame = await next_frame(events)
        async with http.get(f"{base}/live/choices/{answer.plan_id}") as told:
            explained = await told.json()
    [request] = frame["requests"]
    assert (request["model"], request["outcome"]) == ("tiny", "OK")
    assert (request["reason"], request["plan"]) == (answer.reason, answer.plan_id)
    assert len(request["times"]) == 3
    assert request["times"][2] > 0
    assert (frame["choices"][0]["plan"], frame["choices"][0]["outcomes"]) == (answer.plan_id, [""])
    [engine] = frame["engines"]
    assert (engine["model"], engine["state"], engine["slots"]) == ("tiny", "ready", 4)
    assert (frame["away"], frame["troubles"]) == ({}, [])
    assert explained["plan"]["candidates"][0]["model"] == "tiny"
    assert json.loads(explained["record"])["plan_id"] == answer.plan_id


async def test_a_suite_stops_at_once_though_pages_are_open(config):
    async with aiohttp.ClientSession() as http:
        async with suite.running(config[0]) as addresses:
            events = await http.get(f"http://{addresses.http}/live/events")
            await next_frame(events)
        await events.content.read()  # ends: the drain would have waited for half a minute


async def next_frame(events):
    async for line in events.content:
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    raise AssertionError("the stream ended")
