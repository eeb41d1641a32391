"""How a gateway's limits are put together."""

import pytest
from pydantic import ValidationError
from tests.unit.gateway.limits.doubles import asking

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.limits.opening import Limits
from llmrouter.gateway.limits.resources import Resource
from llmrouter.gateway.limits.settings import LimitSettings

RULE = {"name": "r", "requests_per_hour": 1, "dollars_per_day": 1}
NOWHERE = {"address": "127.0.0.1:1", "timeout_seconds": 0.1}


class Audit:
    def __init__(self):
        self.acts = []

    def tell(self, act, **facts):
        self.acts.append(act)


def limits(tmp_path, audit=None, **settings):
    return Limits(LimitSettings(**settings), tmp_path, audit or Audit())


async def test_without_rules_nothing_is_counted_and_no_file_is_made(tmp_path):
    opened = limits(tmp_path, redis=NOWHERE)
    await opened.start()
    assert (opened.limiter, opened.trouble) == (None, "")
    await opened.close()
    assert list(tmp_path.iterdir()) == []


async def test_counts_outlive_a_restart_and_alerts_reach_the_audit_log(tmp_path):
    audit = Audit()
    opened = limits(tmp_path, audit, rules=[RULE])
    await opened.start()
    hold = await opened.limiter.reserve(asking(), {Resource.REQUESTS: 1, Resource.DOLLARS: 9})
    hold.settle({Resource.DOLLARS: 10**9})
    await opened.close()
    assert set(audit.acts) == {"budget.nearly-spent", "budget.spent", "budget.few-left"}
    again = limits(tmp_path, rules=[RULE])
    await again.start()
    with pytest.raises(RouterError) as refused:
        await again.limiter.reserve(asking(), {Resource.REQUESTS: 1})
    assert refused.value.reason is Reason.RATE_LIMITED
    await again.close()
    await again.close()


@pytest.mark.parametrize(("on_failure", "follows"), [("open", "let in"), ("closed", "refused")])
async def test_a_redis_that_is_away_is_told_with_what_follows(tmp_path, on_failure, follows):
    opened = limits(tmp_path, rules=[RULE], redis=NOWHERE, on_failure=on_failure)
    await opened.start()
    assert "127.0.0.1:1" in opened.trouble
    assert follows in opened.trouble
    if on_failure == "open":
        (await opened.limiter.reserve(asking(), {Resource.REQUESTS: 1})).settle()
    else:
        with pytest.raises(RouterError) as refused:
            await opened.limiter.reserve(asking(), {Resource.REQUESTS: 1})
        assert refused.value.reason is Reason.STORE_FAILED
    await opened.close()


def test_a_file_that_cannot_be_read_is_told_at_the_start(tmp_path):
    missing = {"address": "127.0.0.1:1", "password_file": str(tmp_path / "missing")}
    with pytest.raises(RouterError, match=r"gateway\.limits\.redis"):
        limits(tmp_path, rules=[RULE], redis=missing)


def test_what_becomes_of_requests_without_a_store_has_two_answers():
    with pytest.raises(ValidationError):
        LimitSettings(on_failure="perhaps")
