"""Settings of the selector refuse what cannot be meant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.unit.selector.asking import (
    service,
)

from llmrouter.common.errors import RouterError
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.strategy_settings import StrategyWeights


def test_settings_refuse_what_cannot_be_meant():
    for wrong in ({"colour": 1}, {"fallbacks": -1}, {"refresh_interval_seconds": 0}):
        with pytest.raises(ValidationError):
            SelectorSettings(**wrong)
    with pytest.raises(RouterError, match="luck"):
        service(default_strategy="luck")


@pytest.mark.parametrize(
    ("catalog", "why"),
    [
        ([{"name": "a"}, {"name": "a"}], "names a twice"),
        ([{"name": "a", "aliases": ["a"]}], "circle: a -> a"),
        ([{"name": "a", "aliases": ["b"]}, {"name": "b", "aliases": ["a"]}], "in a circle"),
        ([{"name": "a", "aliases": ["b"]}, {"name": "b"}], "gives a the alias b"),
        ([{"name": "a", "aliases": [""]}], "aliases"),
        ([{"name": "a", "aliases": ["b@1"]}], "aliases"),
        ([{"name": "a", "aliases": ["b c"]}], "aliases"),
        ([{"name": "a", "weight": 0}], "weight 0"),
        ([{"name": "a", "weight": -1}], "weight"),
        ([{"name": "a", "input_price": -1}], "input_price"),
    ],
)
def test_a_catalog_that_cannot_be_meant_is_refused(catalog, why):
    with pytest.raises(ValidationError, match=why):
        SelectorSettings(catalog=catalog)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValidationError, match="only weights of 0"):
        StrategyWeights(speed=0, quality=0, cost=0, compatibility=0)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65])
def test_a_strategy_that_no_request_could_ask_for_is_refused(name):
    with pytest.raises(ValidationError, match="strategies"):
        SelectorSettings(strategies={name: {"weights": {"speed": 1}}})
