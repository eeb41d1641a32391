"""What the tests of the registry ask of it, and how they look at it."""

from __future__ import annotations

from functools import partial

import pytest
from tests.support import waiting
from tests.unit.inference.models.fake_backend import WHO

from llmrouter.common.errors import RouterError

until = partial(waiting.until, pause=0)
"""Some of what is waited for is so for one turn of the loop alone."""


def states(registry):
    return {str(one.key): one.state.value for one in registry.models}


def held(registry, name):
    return next(one for one in registry.models if str(one.key) == name)


async def ask(registry, name, version="", who=WHO):
    async with registry.generator(name, version, who) as (facts, _, _):
        return facts.version


async def refusal(awaitable):
    with pytest.raises(RouterError) as refused:
        await awaitable
    return refused.value


def size_of_one(tmp_path):
    """What a model counts for: its folder, two bytes of settings, 128 positions at half a KiB."""
    files = sum(file.stat().st_size for file in (tmp_path / "a").iterdir())
    return int(files * 1.4) + 2 + (64 << 10)
