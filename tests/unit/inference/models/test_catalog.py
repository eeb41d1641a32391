from __future__ import annotations

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.catalog import CATALOG, aliases, find_entry
from llmrouter.inference.models.sources.alternatives import FirstReachable
from llmrouter.inference.models.sources.base import Source
from llmrouter.inference.models.sources.hub import HubSource
from llmrouter.inference.models.sources.joined_wheels import JoinedWheels
from llmrouter.inference.models.sources.wheel import WheelSource

CODER = "qwen2.5-coder-0.5b-instruct"


def test_bare_names_stand_for_what_they_bring_and_full_ones_for_their_own() -> None:
    entry, precisions = find_entry("smollm2-135m-instruct")
    assert precisions == ("int8", "int4", "fp32")
    assert find_entry("smollm2-135m-instruct-int4") == (entry, ("int4",))
    with pytest.raises(RouterError, match="smollm2-135m-instruct") as raised:
        find_entry("smollm3")
    assert raised.value.reason is Reason.UNKNOWN_MODEL


def test_a_large_precision_comes_only_when_it_is_named() -> None:
    entry, precisions = find_entry(CODER)
    assert precisions == ("int8", "int4")
    assert find_entry(f"{CODER}-fp32") == (entry, ("fp32",))


def test_a_bare_name_is_an_alias_of_the_default_precision() -> None:
    assert aliases() == {
        "smollm2-135m-instruct": "smollm2-135m-instruct-int8",
        CODER: f"{CODER}-int8",
    }


def pins(source: Source) -> list[str | None]:
    """Every checksum that a source is held to."""
    if isinstance(source, FirstReachable):
        return [pin for one in source.sources for pin in pins(one)]
    if isinstance(source, JoinedWheels):
        return [source.sha256, *(pin for one in source.pieces for pin in pins(one))]
    if isinstance(source, WheelSource):
        assert "==" in source.requirement
        return [source.sha256, source.member_sha256]
    assert isinstance(source, HubSource)
    return [source.sha256]


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_entry_is_pinned(entry) -> None:
    assert all(pin is not None and len(pin) == 64 for pin in pins(entry.source))


def test_every_source_of_an_entry_is_pinned_to_the_same_file() -> None:
    source = find_entry(CODER)[0].source
    assert isinstance(source, FirstReachable)
    hub, joined = source.sources
    assert isinstance(hub, HubSource)
    assert isinstance(joined, JoinedWheels)
    assert (hub.file, hub.sha256) == (joined.name, joined.sha256)
    assert sum(piece.member_bytes for piece in joined.pieces) == 491_400_064
