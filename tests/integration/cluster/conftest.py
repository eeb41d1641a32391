"""Clusters of hosts on this machine; skipped, with the reason, where it can have none."""

import pytest
from tests.support.cluster import why_no_cluster
from tests.support.lines import Lines
from tests.support.namespaces import Network, why_not


@pytest.fixture
def network():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network() as made:
        yield made


@pytest.fixture
def lines():
    with Lines() as made:
        yield made


@pytest.fixture
def may_have_clusters():
    reason = why_no_cluster()
    if reason:
        pytest.skip(reason)
