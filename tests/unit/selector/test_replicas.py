"""A conversation stays with the replica that knows it, unless that is too busy."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.selector.building import figures_of, planned, request_of, selector_of, served

from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.figures import estimate
from llmrouter.selector.replicas import replicas_in_order
from llmrouter.selector.view import view_of


def replica(number, **values):
    return served("m", address=f"host:{number}", **values)


def address(held, **request):
    return planned(build_catalog([], held), **request).candidates[0].address


def places(held, bound=1.5, **request):
    view = view_of(build_catalog([], held))
    frame = estimate(request_of(**request), view, figures_of(view), 256)
    return replicas_in_order(frame, 0, bound), frame


def test_the_least_loaded_replica_is_taken_and_equals_are_spread_by_request():
    held = [replica("busy", running=10), *(replica(number) for number in range(3))]
    taken = {address(held, question_key=str(number).encode()) for number in range(50)}
    assert taken == {"host:0", "host:1", "host:2"}
    assert len({address(held, question_key=b"same") for _ in range(5)}) == 1


def test_conversations_are_spread_over_the_replicas_and_each_keeps_its_own():
    held = [replica(number) for number in range(4)]
    homes = {}
    for number in range(200):
        key = str(number).encode()
        homes[key] = address(held, conversation_key=key)
        assert address(held, conversation_key=key, question_key=b"later turn") == homes[key]
    assert all(25 < count < 80 for count in Counter(homes.values()).values())
    fewer = held[:-1]
    for key, home in homes.items():
        if home != "host:3":
            assert address(fewer, conversation_key=key) == home


def test_a_replica_that_is_too_busy_loses_conversations_to_the_next_and_gets_them_back():
    held = [replica(number) for number in range(3)]
    home = address(held, conversation_key=b"c")
    busy = [
        served("m", address=one.address, running=30 if one.address == home else 4) for one in held
    ]
    second = address(busy, conversation_key=b"c")
    assert second != home
    assert address(busy, conversation_key=b"c") == second
    assert address(held, conversation_key=b"c") == home


def test_memory_for_keys_and_values_counts_as_load():
    held = [replica(0, cache_bytes=100), replica(1, cache_bytes=10_000)]
    assert {address(held, question_key=str(n).encode()) for n in range(20)} == {"host:0"}


def test_long_requests_weigh_more_than_short_ones():
    held = [replica(number, slots=4) for number in range(2)]
    selector = selector_of(held, catalog=())
    first = selector.select(request_of(100, max_tokens=4000))[1].candidates[0].address
    others = Counter(
        selector.select(request_of(100, max_tokens=100, request_id=str(number)))[1]
        .candidates[0]
        .address
        for number in range(4)
    )
    assert others[first] == 0


LOADS = st.lists(st.tuples(st.integers(0, 64), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(LOADS, st.binary(max_size=3), st.sampled_from([1.0, 1.5, 4.0]))
def test_no_conversation_goes_beyond_the_bound_while_a_replica_is_within(loads, key, bound):
    held = [
        replica(number, running=running, draining=draining)
        for number, (running, draining) in enumerate(loads)
    ]
    if all(draining for _, draining in loads):
        return
    order, frame = places(held, bound, conversation_key=key)
    open_places = [place for place, (_, draining) in enumerate(loads) if not draining]
    assert sorted(order) == open_places
    loads_open = [float(frame.pressure[place]) for place in open_places]
    if key and len(open_places) > 1:
        most = max(bound * sum(loads_open) / len(loads_open), 0.25)
        assert frame.pressure[order[0]] <= most * (1 + 1e-9) or min(loads_open) > most
    if not key:
        assert frame.pressure[order[0]] == min(loads_open)
