"""One selector at most holds a lease, whatever becomes of its way to the server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from llmrouter.selector.redis_lease import RedisLease

LIFE = 3.0


class Server:
    """Does what the script says, by a clock that a test moves."""

    def __init__(self):
        self.now, self.owner, self.until, self.refusal = 0.0, "", 0.0, None

    async def eval(self, _script, _count, _name, owner, milliseconds):
        if self.refusal is not None:
            raise self.refusal
        if self.now < self.until and owner != self.owner:
            return 0
        self.owner, self.until = owner, self.now + int(milliseconds) / 1000
        return 1


def leases(server, count=2):
    return [RedisLease("lease", LIFE, lambda: server.now) for _ in range(count)]


async def test_it_is_the_first_ones_until_it_renews_it_no_more():
    server = Server()
    first, second = leases(server)
    assert not first.held()
    await first.take(server)
    await second.take(server)
    assert (first.held(), second.held()) == (True, False)
    server.now = 1.0
    await first.take(server)
    server.now = 2.9
    assert first.held()
    server.now = 3.1
    await second.take(server)
    assert (first.held(), second.held()) == (False, False), "neither, before the server gives it"
    server.now = 4.0
    await second.take(server)
    assert (first.held(), second.held()) == (False, True)


async def test_a_server_that_refuses_is_told_once_and_gives_it_to_nobody(caplog):
    server = Server()
    server.refusal = ResponseError("NOPERM")
    [lease] = leases(server, 1)
    for _ in range(2):
        await lease.take(server)
    assert not lease.held()
    assert caplog.text.count("NOPERM") == 1


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2)), max_size=30),
)
async def test_no_two_hold_it_at_once(events):
    server = Server()
    several = leases(server, 3)
    for passed, who in events:
        server.now += passed
        await several[who].take(server)
        assert sum(one.held() for one in several) <= 1
