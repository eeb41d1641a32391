"""A choice can be explained after a restart as well; so many of them are kept."""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from tests.unit.selector.building import Clock, entry, request_of, selector_of, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.decision_file import DecisionFile
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import DecisionSettings, SelectorSettings
from llmrouter.v1 import selector_pb2 as pb

HELD = [served(name, address=f"host:{number}") for name in "abc" for number in range(2)]
CATALOG = tuple(entry(name, quality=0.3 + place / 10) for place, name in enumerate("abc"))


def deciding(count=1, wall=lambda: 1000.0):
    settings = SelectorSettings(catalog=CATALOG)
    selector = ModelSelector(settings, lambda: tuple(HELD), clock=Clock(), wall=wall)
    return selector, [selector.select(request_of(request_id=f"r{one}"))[0] for one in range(count)]


def keeping(selector, path, most=100, max_bytes=64 << 20, **more):
    settings = DecisionSettings(kept=most, kept_bytes=max_bytes)
    return DecisionFile(path, settings, selector.past, **more)


def a_second_each():
    """A clock of work by which every record takes a second."""
    return itertools.count().__next__


async def kept(selector, path, **bounds):
    """Keep what was decided, as a selector does that ends."""
    past = keeping(selector, path, **bounds)
    past.start()
    await past.close()
    await past.close()


async def explain(selector, past, plan_id):
    service = SelectorServicer(selector, recall=past.find)
    return await service.Explain(pb.ExplainRequest(plan_id=plan_id), None)


@pytest.fixture
def begun_anew(tmp_path):
    selector = selector_of([served("z")])
    return selector, keeping(selector, tmp_path / "d.sqlite")


async def test_a_choice_of_before_a_restart_is_explained_as_it_was(tmp_path, begun_anew):
    selector, ids = deciding(3)
    told = [await explain(selector, keeping(selector, tmp_path, most=0), one) for one in ids]
    await kept(selector, tmp_path / "d.sqlite")
    assert [await explain(*begun_anew, one) for one in ids] == told
    with pytest.raises(RouterError) as refused:
        await explain(*begun_anew, "f" * 32)
    assert refused.value.reason is Reason.UNKNOWN_PLAN


async def test_the_oldest_are_forgotten_with_their_catalogs(tmp_path):
    path = tmp_path / "d.sqlite"
    first, [old] = deciding()
    await kept(first, path, most=3)
    selector = selector_of(HELD[:2], catalog=CATALOG)
    ids = [selector.select(request_of(request_id=f"r{one}"))[0] for one in range(5)]
    await kept(selector, path, most=3)
    past = keeping(selector, path, most=3)
    assert [await past.find(one) is not None for one in (old, *ids)] == [False] * 3 + [True] * 3
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM catalogs").fetchone() == (1,)


async def test_the_file_is_of_its_owner_alone_and_nothing_stays_beside_it_once_it_is_closed(
    tmp_path,
):
    selector, _ = deciding()
    await kept(selector, tmp_path / "d.sqlite")
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_each_is_written_once_when_its_outcome_may_be_known(tmp_path, monkeypatch):
    selector, ids = deciding(3)
    past = keeping(selector, tmp_path / "d.sqlite", worked=a_second_each())
    await past.write(settled_by=0.0, seconds=2)
    assert not (tmp_path / "d.sqlite").exists()
    await past.write(settled_by=float("inf"), seconds=2)
    assert [await past.find(one) is not None for one in ids] == [False, True, True]
    written = []
    monkeypatch.setattr(past._rows, "put", written.extend)
    selector.select(request_of())
    await past.write(settled_by=float("inf"), seconds=2)
    assert len(written) == 1


async def test_a_stream_of_young_choices_keeps_no_settled_one_from_being_written(tmp_path):
    selector, ids = deciding(8, wall=itertools.count(1000).__next__)
    past = keeping(selector, tmp_path / "d.sqlite", worked=a_second_each())
    await past.write(settled_by=1003, seconds=2)  # four are older, four are too young
    found = [await past.find(one) is not None for one in ids]
    assert found == [False, False, True, True, False, False, False, False]
    past.start()
    await past.close()
    begun_anew = keeping(selector, tmp_path / "d.sqlite")
    assert [await begun_anew.find(one) is not None for one in ids[2:]] == [True] * 6


async def test_what_takes_longer_than_it_may_is_left_out_and_told_once(tmp_path, caplog):
    caplog.set_level("INFO")
    selector, ids = deciding(9)
    past = keeping(selector, tmp_path / "d.sqlite", worked=a_second_each())
    await past.write(settled_by=float("inf"), seconds=3)
    found = [await past.find(one) is not None for one in ids]
    assert found == [False] * 6 + [True] * 3
    assert "6 of 9 past choices are left out" in caplog.text
    caplog.clear()
    ids = [selector.select(request_of(request_id=f"s{one}"))[0] for one in range(2)]
    await past.write(settled_by=float("inf"), seconds=0)  # at least one, however long it takes
    assert [await past.find(one) is not None for one in ids] == [False, True]
    assert "left out" not in caplog.text


async def test_the_file_never_grows_past_its_bytes_and_the_oldest_make_room(tmp_path, caplog):
    caplog.set_level("INFO")
    path, ids, versions = tmp_path / "d.sqlite", [], itertools.count()

    def held():  # every choice has a catalog of its own
        return (*HELD, served("d", version=f"v{next(versions)}"))

    selector = selector_of(held, catalog=CATALOG)
    past = keeping(selector, path, most=1000, max_bytes=1 << 20)
    for one in range(200):
        ids.append(selector.select(request_of(request_id=f"r{one}"))[0])
        if one % 10 == 0:
            await past.write(settled_by=float("inf"), seconds=60)
            past._rows.close()
            assert path.stat().st_size <= 1 << 20
            assert await past.find(ids[-1]) is not None
    found = [await past.find(one) is not None for one in ids[:191]]
    assert found == sorted(found)  # the newest of them all
    assert 20 < sum(found) < 191
    assert caplog.text == ""
    # More at once than it may hold: the newest of them.
    await kept(selector, tmp_path / "at-once.sqlite", most=1000, max_bytes=1 << 20)
    assert (tmp_path / "at-once.sqlite").stat().st_size <= 1 << 20
    assert "of 200 past choices are left out" in caplog.text


async def test_a_file_that_may_hold_less_than_it_did_is_made_smaller(tmp_path):
    path = tmp_path / "d.sqlite"
    selector, ids = deciding(400)
    await kept(selector, path, most=1000)
    assert path.stat().st_size > 1 << 20
    last = selector.select(request_of(request_id="later"))[0]
    past = keeping(selector, path, most=1000, max_bytes=1 << 20)
    past._last = ids[-1]
    await past.write(settled_by=float("inf"), seconds=60)
    past._rows.close()
    assert path.stat().st_size <= 1 << 20
    found = [await past.find(one) is not None for one in (ids[0], ids[-1], last)]
    assert found == [False, True, True]


async def test_a_file_that_cannot_be_written_or_read_costs_no_more_than_the_past(
    tmp_path, begun_anew, caplog
):
    selector, [plan_id] = deciding()
    (tmp_path / "file").write_text("")
    await kept(selector, tmp_path / "file" / "d.sqlite")
    assert "past choices cannot be kept in" in caplog.text
    (tmp_path / "d.sqlite").write_bytes(b"no database" * 100)
    await kept(selector, tmp_path / "d.sqlite")
    assert f"set aside as {tmp_path / 'd.sqlite.damaged'}" in caplog.text
    assert (await explain(*begun_anew, plan_id)).plan.id == plan_id
    with sqlite3.connect(tmp_path / "d.sqlite") as file:
        file.execute("UPDATE decisions SET record = '{}'")
    with pytest.raises(RouterError):
        await explain(*begun_anew, plan_id)
    assert "cannot be read" in caplog.text


async def test_a_file_with_damaged_pages_is_set_aside_and_begun_anew(tmp_path, caplog):
    path = tmp_path / "d.sqlite"
    selector, ids = deciding(60)
    await kept(selector, path)
    whole = path.read_bytes()
    past = keeping(selector, path)
    for damaged in (past.write(float("inf"), 100), past.find(ids[3])):
        pages = bytearray(whole)
        for page in range(4096, len(pages), 4096):
            pages[page : page + 200] = bytes(200)
        past._rows.close()
        path.write_bytes(pages)
        await damaged
        assert f"set aside as {tmp_path / 'd.sqlite.damaged'}" in caplog.text
        caplog.clear()
        aside = (tmp_path / "d.sqlite.damaged").read_bytes()
        assert aside[4096:] == pages[4096:]  # the first page counts how often it was opened
    last = selector.select(request_of(request_id="later"))[0]
    await past.write(float("inf"), 100)
    assert await past.find(last) is not None
    assert caplog.text == ""


@pytest.mark.parametrize("record", ["{torn", "7", "[" * 100_000])
async def test_a_torn_record_is_as_unknown_as_one_that_was_never_kept(
    tmp_path, begun_anew, record, caplog
):
    selector, [torn, whole] = deciding(2)
    await kept(selector, tmp_path / "d.sqlite")
    with sqlite3.connect(tmp_path / "d.sqlite") as file:
        file.execute("UPDATE decisions SET record = ? WHERE plan_id = ?", (record, torn))
    with pytest.raises(RouterError) as refused:
        await explain(*begun_anew, torn)
    assert refused.value.reason is Reason.UNKNOWN_PLAN
    assert f"the kept choice {torn} cannot be read" in caplog.text
    assert (await explain(*begun_anew, whole)).plan.id == whole
