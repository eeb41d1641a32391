"""A release gets more of the traffic while it does well, and none once it does not."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.driving import run

from llmrouter.cli.release_policy import OUR_FAULTS, Plan, Seen, Verdict, judge
from llmrouter.cli.release_shift import Command, Prometheus, ReleaseError, Shift

PLAN = Plan()
RULES = Path(__file__).parents[3] / "helm/llmrouter/rules/llmrouter.yaml"
WELL, ILL, IDLE = Seen(1000, 10), Seen(1000, 51), Seen(49, 49)


def verdict(in_stage, seen, blind=0):
    return judge(PLAN, in_stage, seen, blind, "it is not ready").verdict


@pytest.mark.parametrize(
    ("in_stage", "seen", "blind", "expected"),
    [
        (299, WELL, 0, Verdict.WAIT),
        (300, WELL, 0, Verdict.ADVANCE),
        (1, ILL, 0, Verdict.ROLL_BACK),
        (300, Seen(1000, 50), 0, Verdict.ADVANCE),
        (300, IDLE, 0, Verdict.WAIT),
        (3600, IDLE, 0, Verdict.ROLL_BACK),
        (300, None, 2, Verdict.WAIT),
        (1, None, 3, Verdict.ROLL_BACK),
    ],
)
def test_a_stage_ends_by_its_time_and_requests_or_by_failures(in_stage, seen, blind, expected):
    assert verdict(in_stage, seen, blind) is expected


@given(st.floats(0, 1e4), st.floats(0, 1e6), st.floats(0, 1))
def test_nobody_gets_more_traffic_who_fails_too_often(in_stage, requests, ratio):
    found = verdict(in_stage, Seen(requests, requests * ratio))
    if ratio > PLAN.max_errors * 1.001:
        assert found is not Verdict.ADVANCE
    if found is Verdict.ADVANCE:
        assert requests >= PLAN.min_requests


def test_the_failures_that_count_are_those_of_the_rules():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rule = next(one for group in groups for one in group["rules"] if "record" in one)
    assert set(re.search(r'reason=~"([A-Z_|]+)"', rule["expr"])[1].split("|")) == set(OUR_FAULTS)


class World:
    """A balancer, a release and a clock that tests turn."""

    def __init__(self, looks, stages=(10, 30, 70, 100)):
        self.shares, self.steps, self.windows, self.now = [], [], [], 0.0
        self.looks = iter(looks)
        self.is_ready = True
        self.shift = Shift(
            Plan(stages, interval=10, patience=100), apply=self.apply, ready=self.ready,
            seen=self.seen, told=self.steps.append, clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip

    async def apply(self, new):
        self.shares.append(new)

    async def ready(self):
        return self.is_ready

    async def seen(self, seconds):
        self.windows.append(seconds)
        found = next(self.looks, WELL)
        if isinstance(found, BaseException):
            raise found
        return found, WELL

    async def sleep(self, seconds):
        self.now += seconds


async def test_a_release_that_does_well_gets_all_of_it_by_stages():
    world = World([])
    await world.shift.run()
    assert world.shares == [10, 30, 70, 100]
    assert world.now == 40
    assert {step.share for step in world.steps} == {10, 30, 70, 100}


async def test_one_that_is_not_ready_gets_nothing():
    world = World([])
    world.is_ready = False
    with pytest.raises(ReleaseError, match="it got no traffic"):
        await world.shift.run()
    assert world.shares == []


async def test_one_that_fails_in_a_later_stage_loses_all_at_once():
    world = World([*[WELL] * 14, ILL])
    with pytest.raises(ReleaseError, match=r"rolled back: 5\.1% of 1000 requests failed"):
        await world.shift.run()
    assert world.shares == [10, 30, 0]


async def test_a_look_that_fails_is_borne_and_three_in_a_row_are_not():
    away = ReleaseError("Prometheus does not tell: away")
    world = World([away, away, WELL, away, away, WELL])
    await world.shift.run()
    assert world.shares[-1] == 100
    world = World([WELL, away, away, away])
    with pytest.raises(ReleaseError, match="does not tell: away, 3 times in a row"):
        await world.shift.run()
    assert world.shares == [10, 0]


async def test_a_stage_that_waits_for_requests_is_judged_by_all_that_came_since_it_began():
    world = World([IDLE] * 30, stages=(10, 100))
    await world.shift.run()
    first, rest = world.windows[:31], world.windows[31:]
    assert first[:11] == [10.0] * 10 + [11.0]
    assert first[10:] == [float(age) for age in range(11, 32)]
    assert rest == [10.0] * 10
    assert world.shares == [10, 100]


async def test_who_interrupts_gets_the_old_release_back():
    world = World([WELL, asyncio.CancelledError()])
    with pytest.raises(asyncio.CancelledError):
        await world.shift.run()
    assert world.shares == [10, 0]


async def test_a_balancer_that_cannot_be_told_to_go_back_is_named():
    world = World([ILL])

    async def apply(new):
        if not new:
            raise ReleaseError("helm ended with 1")

    world.shift = Shift(
        Plan(), apply=apply, ready=world.ready, seen=world.seen, told=world.steps.append,
        clock=lambda: world.now, sleep=world.sleep,
    )  # fmt: skip
    with pytest.raises(ReleaseError, match="do it by hand: helm ended with 1"):
        await world.shift.run()


async def test_the_command_gets_both_shares_and_its_last_words_are_told(tmp_path):
    script = tmp_path / "apply.py"
    script.write_text(
        "import json, sys\n"
        f"open({str(tmp_path / 'told')!r}, 'a').write(json.dumps(sys.argv[1:]))\n"
        "if sys.argv[1] == '100': sys.exit('two lines\\nno such release')\n"
    )
    command = Command(f"{sys.executable} {script} {{new}} '[{{\"weight\": {{old}}}}]'")
    await command(30)
    assert (tmp_path / "told").read_text() == '["30", "[{\\"weight\\": 70}]"]'
    with pytest.raises(ReleaseError, match="ended with 1: no such release"):
        await command(100)
    with pytest.raises(ReleaseError, match="no-such-program cannot be run"):
        await Command("no-such-program {new}")(10)


@pytest.fixture
async def prometheus():
    """Yields a server's URL, its answers for requests and for failures, and what was asked."""
    answers, asked = [], []

    async def query(request):
        asked.append(request.query["query"])
        return web.json_response(answers["llm_errors_total" in asked[-1]])

    app = web.Application()
    app.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", answers, asked
    await runner.cleanup()


def vector(*values):
    result = [{"metric": {}, "value": [0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def test_prometheus_is_asked_for_requests_and_our_own_faults(prometheus):
    url, answers, asked = prometheus
    answers += [vector("80.5"), vector()]
    seen = await Prometheus(url).seen('service="green"', 300)
    assert (seen.requests, seen.failures) == (80.5, 0)
    requests, failures = sorted(asked, key=lambda one: "errors" in one)
    assert requests == 'sum(increase(llm_requests_total{service="green"}[300s]))'
    assert failures.startswith('sum(increase(llm_errors_total{service="green",reason=~"ANSWER_')


@pytest.mark.parametrize("answer", [{"status": "error", "error": "bad query"}, {}, [], vector("x")])
async def test_what_prometheus_says_that_is_no_number_is_told(prometheus, answer):
    url, answers, _ = prometheus
    answers += [answer, answer]
    with pytest.raises(ReleaseError, match="Prometheus does not tell"):
        await Prometheus(url).seen("a", 300)


async def test_a_prometheus_that_is_away_is_told():
    with pytest.raises(ReleaseError, match="Prometheus does not tell"):
        await Prometheus("http://127.0.0.1:1").seen("a", 300)


@pytest.mark.parametrize("stages", ["10,30", "30,10,100", "0,100", "a", "10,10,100", ""])
def test_stages_that_lead_nowhere_are_wrong_usage(stages):
    done = run(
        "release", "blue", "green", "--apply", "true", "--prometheus", "http://127.0.0.1:1",
        "--address", "127.0.0.1:1", "--stages", stages,
    )  # fmt: skip
    assert done.exit_code == 2
    assert "--stages" in done.stderr


def test_a_release_that_nobody_answers_for_is_not_begun():
    done = run(
        "release", "blue", "green", "--apply", "true", "--prometheus", "http://127.0.0.1:1",
        "--address", "127.0.0.1:1",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "it got no traffic" in done.stderr
