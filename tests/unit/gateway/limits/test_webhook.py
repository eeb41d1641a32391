"""The webhook: signed, tried again, bounded, and in nobody's way."""

import asyncio
import contextlib
import hashlib
import hmac
import json

import pytest
from aiohttp import web
from pydantic import ValidationError
from structlog.testing import capture_logs

from llmrouter.common.errors import RouterError
from llmrouter.gateway.limits.alerting import Alerting
from llmrouter.gateway.limits.alerts import Alert, AlertKind
from llmrouter.gateway.limits.settings import WebhookSettings
from llmrouter.gateway.limits.webhook import SIGNATURE, Webhook

SECRET = b"0123456789abcdef0123"
ALERT = Alert(AlertKind.SPENT, "plan", "tenant acme", "5.00 dollars per day", "2026-11-25", 5, 5)


class Receiver:
    """A web address that answers with these statuses, the last one again and again."""

    def __init__(self):
        self.statuses, self.got, self.url = [204], [], ""

    async def take(self, request):
        self.got.append((dict(request.headers), await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            await asyncio.sleep(30)
        return web.Response(status=status or 200, headers={"location": "/elsewhere"})


@pytest.fixture
async def receiver():
    found, app = Receiver(), web.Application()
    app.router.add_route("*", "/{tail:.*}", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/alerts"
    yield found
    await runner.cleanup()


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    return file


@contextlib.asynccontextmanager
async def sending(receiver, secret_file, **more):
    settings = WebhookSettings(url=receiver.url, secret_file=secret_file, **more)
    webhook = Webhook(settings, pause=0.01, clock=lambda: 1_795_600_000.5)
    await webhook.start()
    yield webhook
    await webhook.close()


async def test_an_alert_is_sent_with_a_signature_over_time_and_body(receiver, secret_file):
    async with sending(receiver, secret_file) as webhook:
        webhook(ALERT)
    [(headers, body)] = receiver.got
    told = json.loads(body)
    assert told.pop("id")
    assert told == {
        "type": "budget.spent", "kind": "spent", "rule": "plan", "subject": "tenant acme",
        "limit": "5.00 dollars per day", "period": "2026-11-25", "spent": 5, "most": 5,
    }  # fmt: skip
    expected = hmac.new(SECRET, b"1795600000." + body, hashlib.sha256).hexdigest()
    given = {name.lower(): value for name, value in headers.items()}[SIGNATURE]
    assert given == f"t=1795600000,v1={expected}"


async def test_what_is_not_taken_is_sent_again_as_the_same_alert(receiver, secret_file):
    receiver.statuses = [500, 302, 200]
    async with sending(receiver, secret_file) as webhook:
        webhook(ALERT)
    assert len(receiver.got) == 3
    assert len({json.loads(body)["id"] for _, body in receiver.got}) == 1


async def test_an_alert_that_nobody_takes_is_given_up_and_the_next_one_is_sent(
    receiver, secret_file
):
    receiver.statuses = [500, 500, 200]
    with capture_logs() as lines:
        async with sending(receiver, secret_file, tries=2) as webhook:
            webhook(ALERT)
            webhook(ALERT)
    assert len(receiver.got) == 3
    [line] = [line for line in lines if line["event"] == "an alert was not taken"]
    assert line["error"] == "status 500"


async def test_an_address_that_hangs_is_waited_for_so_long_and_no_longer(receiver, secret_file):
    receiver.statuses = [None]
    with capture_logs() as lines:
        async with sending(receiver, secret_file, timeout_seconds=0.1, tries=1) as webhook:
            webhook(ALERT)
            await asyncio.sleep(0.3)
    assert [line for line in lines if line["event"] == "an alert was not taken"]


async def test_alerts_beyond_the_bound_are_left_out_and_the_log_says_so(receiver, secret_file):
    settings = WebhookSettings(url=receiver.url, secret_file=secret_file)
    webhook = Webhook(settings)
    with capture_logs() as lines:
        for _ in range(300):
            webhook(ALERT)
    assert len(lines) == 300 - 256


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://example.org", "example.org", "https://"]
)
def test_an_address_that_others_could_read_or_that_is_none_is_refused(url, secret_file):
    with pytest.raises(ValidationError):
        WebhookSettings(url=url, secret_file=secret_file)


def test_a_secret_that_cannot_be_read_or_is_too_short_is_told_at_the_start(tmp_path):
    short = tmp_path / "short"
    short.write_text("abc")
    for file in (short, tmp_path / "missing"):
        with pytest.raises(RouterError, match=r"secret_file|bytes"):
            Webhook(WebhookSettings(url="https://example.org/a", secret_file=file))


def test_an_alert_is_in_the_log_the_audit_log_and_told_to_all_who_listen():
    acts, heard = [], []

    class Audit:
        def tell(self, act, **facts):
            acts.append((act, facts))

    with capture_logs() as lines:
        Alerting(Audit(), [heard.append])(ALERT)
    [line] = lines
    assert (line["log_level"], line["alert"], line["subject"]) == (
        "warning",
        "spent",
        "tenant acme",
    )
    [(act, facts)] = acts
    assert (act, facts["rule"], facts["limit"]) == ("budget.spent", "plan", "5.00 dollars per day")
    assert heard == [ALERT]
