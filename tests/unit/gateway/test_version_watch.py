"""The gateway looks which versions there are, and tells the cache, whatever becomes of one part."""

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import until
from tests.unit.gateway.doubles import error

from llmrouter.common.errors import RouterError
from llmrouter.gateway import versions
from llmrouter.gateway.versions import VersionWatch, parted


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_versions_are_told_in_parts_that_split_no_model():
    known = {(name, version) for name in "abc" for version in "12"}
    parts = list(parted(known, most=3))
    assert [one for part in parts for one in part] == sorted(known)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert [len(part) for part in parted(known, most=5)] == [4, 2]
    assert list(parted([])) == []


class Told:
    """A cache service; `failing` is what it answers."""

    def __init__(self, failing=None):
        self.failing = failing
        self.told = []

    async def tell_versions(self, known, selector):
        if self.failing is not None:
            raise self.failing
        assert selector == "s"
        self.told.append(known)
        return []


class Catalog:
    """Versions of the model `a`, look for look."""

    def __init__(self, *looks):
        self.looks = list(looks)

    async def versions(self):
        known = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return "s", {("a", version): serves for version, serves in known.items()}


async def test_the_cache_is_told_of_every_version_each_time_and_of_those_that_are_away_too(
    monkeypatch,
):
    monkeypatch.setattr(versions, "_LOOK_SECONDS", 0.01)
    cache = Told()
    watch = VersionWatch(Catalog({"1": True}, {}, {"1": False, "2": True}), cache)
    await watch.start()
    await until(lambda: len(cache.told) == 3)
    await watch.close()
    assert cache.told[:3] == [[("a", "1")], *[[("a", "1"), ("a", "2")]] * 2]


async def test_what_could_not_be_told_is_told_with_the_next_look_and_versions_serve_meanwhile():
    cache = Told(failing=error())
    watch = VersionWatch(Catalog({"1": True}), cache)
    with pytest.raises(RouterError):
        await watch.look()
    assert watch.serves("a", "1")
    cache.failing = None
    await watch.look()
    assert cache.told == [[("a", "1")]]


async def test_a_version_serves_while_the_catalog_that_names_it_is_news(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(versions.time, "monotonic", clock)
    watch = VersionWatch(Catalog({"1": True, "3": False}), Told())
    assert not watch.serves("a", "1")
    await watch.look()
    assert watch.serves("a", "1")
    assert not watch.serves("a", "2")
    assert not watch.serves("a", "3")
    clock.now += 3
    assert not watch.serves("a", "1")


class Many:
    """A selector that knows one version of each of many models."""

    def __init__(self, count):
        self.known = {(f"m{number:04d}", "v"): True for number in range(count)}

    async def versions(self):
        return "s", self.known


class Refusing(Told):
    """Takes no part in which there is a model."""

    def __init__(self, model, passed=lambda: None):
        super().__init__()
        self.model = model
        self.passed = passed

    async def tell_versions(self, known, selector):
        self.passed()
        if any(name == self.model for name, _ in known):
            raise error()
        return await super().tell_versions(known, selector)


def models(cache):
    return [name for part in cache.told for name, _ in part]


async def test_a_part_that_is_not_taken_does_not_keep_those_behind_it_from_being_told():
    cache = Refusing("m0000")
    with pytest.raises(RouterError):
        await VersionWatch(Many(1200), cache).look()
    assert models(cache) == [f"m{number:04d}" for number in range(512, 1200)]
    assert max(map(len, cache.told)) <= 512


async def test_what_there_was_no_time_to_tell_is_told_first_by_the_next_look(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(versions.time, "monotonic", clock)

    def slow():
        clock.now += 1

    cache = Refusing("none", slow)
    watch = VersionWatch(Many(2000), cache)
    await watch.look()
    assert len(models(cache)) == 1024
    cache.told.clear()
    await watch.look()
    assert models(cache)[0] == "m1024"
    assert models(cache)[-1] == "m1999"


async def test_a_model_with_more_versions_than_a_part_is_told_as_a_whole():
    known = [("a", f"{number:04d}") for number in range(600)]
    assert list(parted([*known, ("b", "1")])) == [known, [("b", "1")]]


async def test_looks_that_fail_again_and_again_are_warned_of_now_and_then(monkeypatch):
    monkeypatch.setattr(versions, "_LOOK_SECONDS", 0.0)
    cache = Told(failing=error())
    watch = VersionWatch(Catalog({"1": True}), cache)
    with capture_logs() as logs:
        await watch.start()
        await until(lambda: len(logs) >= 70)
        await watch.close()
    warned = [line["looks"] for line in logs if line["log_level"] == "warning"]
    assert [look for look in warned if look <= 70] == [5, 65]
