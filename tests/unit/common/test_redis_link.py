"""A server is used for as long as it is there, and found again; nobody waits for it without end."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as DisconnectedError
from tests.support.waiting import until

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.redis_link import RedisLink
from llmrouter.common.redis_server import RedisSettings

SETTINGS = RedisSettings(address="127.0.0.1:1", timeout_seconds=0.1)


class User:
    """Uses each client as the next step of a script says, the last one again and again."""

    def __init__(self, *steps):
        self.steps, self.uses, self.losses, self.waiting = list(steps), 0, 0, False
        self.link = RedisLink(SETTINGS, "test.redis", self.use, self.lose)

    async def use(self, client):
        self.uses += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, BaseException):
            raise step
        self.link.found()
        await step.wait()
        raise DisconnectedError("it went away")

    def lose(self):
        self.losses += 1


async def test_a_server_that_is_lost_is_told_and_found_again(caplog):
    caplog.set_level("INFO")
    gone = asyncio.Event()
    one = User(gone, ExceptionGroup("both", [OSError("no way")]), asyncio.Event())
    assert "was not reached yet" in one.link.away
    assert await one.link.start()
    assert (one.link.away, one.losses) == ("", 0)
    gone.set()
    await until(lambda: one.losses == 1)
    assert one.link.away == "Redis at 127.0.0.1:1 cannot be used (it went away)"
    await until(lambda: one.losses == 2)
    assert "(no way)" in one.link.away
    await until(lambda: not one.link.away)
    assert caplog.text.count("is lost: ") == 1
    assert caplog.text.count("is in use") == 2
    await one.link.close(lambda: False)
    await one.link.close(lambda: False)


async def test_what_cannot_be_used_ends_nothing_for_good(caplog):
    broken = ExceptionGroup("both", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")])
    one = User(broken, asyncio.Event())
    await one.link.start()
    await until(lambda: not one.link.away)
    assert (one.uses, one.losses) == (2, 1)
    assert "what came cannot be used" in caplog.text
    await one.link.close(lambda: False)


async def test_a_server_that_does_not_answer_in_time_is_waited_for_no_longer():
    one = User(DisconnectedError("nobody is there"))
    assert not await one.link.start()
    assert "nobody is there" in one.link.away
    await one.link.close(lambda: True)  # what waits could not be told
    assert one.uses >= 2


async def test_closing_waits_for_what_the_server_can_take_and_for_no_more():
    one = User(asyncio.Event())
    await one.link.start()
    left = [1, 1, 1]
    await one.link.close(lambda: bool(left and left.pop()))
    assert (left, one.link.closing) == ([], True)
    other = User(asyncio.Event())
    await other.link.start()
    async with asyncio.timeout(10):
        await other.link.close(lambda: True)


async def test_a_user_that_swallows_its_cancellation_ends_when_it_looks():
    class Stubborn(User):
        async def use(self, client):
            self.link.found()
            while not self.link.closing:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.uses += 1

    one = Stubborn(asyncio.Event())
    await one.link.start()
    async with asyncio.timeout(10):
        await one.link.close(lambda: False)
    assert one.uses == 1


async def test_a_file_that_cannot_be_read_is_told_at_once(tmp_path):
    settings = RedisSettings(address="127.0.0.1:1", password_file=tmp_path / "none")

    async def use(client):
        pass

    with pytest.raises(RouterError, match=r"test\.redis cannot be used") as told:
        RedisLink(settings, "test.redis", use)
    assert told.value.reason is Reason.STORE_FAILED
