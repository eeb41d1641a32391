"""A registry over folders of a fake backend; nothing here computes."""

from __future__ import annotations

import pytest
from tests.unit.inference.models.fake_backend import FakeBackends, put, registry_of


@pytest.fixture
def backends():
    return FakeBackends()


@pytest.fixture
async def make(tmp_path, backends):
    """Starts a registry over folders `a`, `b`, `c`, or those named."""
    made = []

    async def start(*names, now=True, **options):
        for name in names or ("a", "b", "c"):
            if not (tmp_path / name).exists():
                put(tmp_path, name)
        made.append(registry_of(tmp_path, backends, **options))
        await made[-1].start(now=now)
        return made[-1]

    yield start
    for registry in made:
        await registry.close()
