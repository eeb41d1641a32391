"""What a caller is told where no model may answer."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import (
    LARGE,
    SMALL,
    catalog_of,
    entry,
    planned,
    served,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog


def test_when_all_are_excluded_the_error_tells_each_reason():
    with pytest.raises(RouterError, match=r"nearest is large, but.*small: quality") as caught:
        planned(catalog_of(SMALL, LARGE), min_quality=0.95)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_the_nearest_model_is_the_one_that_lacks_least_and_all_that_it_lacks_is_told():
    with pytest.raises(RouterError, match="nearest is large") as caught:
        planned(catalog_of(SMALL, LARGE), min_quality=0.95, max_cost=1e-9, tags=("region=eu",))
    assert caught.value.metadata["nearest"] == "large"
    lacks = caught.value.metadata["lacks"]
    assert "quality 0.900" in lacks
    assert "above the ceiling" in lacks
    assert "not tagged region=eu" in lacks


def test_where_nothing_is_held_the_error_says_what_to_do_and_lists_no_catalog():
    with pytest.raises(RouterError, match="llmrouter models pull") as caught:
        planned(build_catalog([SMALL, LARGE], []))
    assert caught.value.reason is Reason.NO_CANDIDATE
    assert "small" not in caught.value.message.replace("smollm", "")


def test_what_does_another_kind_of_work_is_not_the_nearest():
    vectors = served("vectors", capabilities=frozenset({"embedding"}))
    catalog = build_catalog([SMALL, LARGE], [served("small"), vectors])
    with pytest.raises(RouterError, match="nearest is small"):
        planned(catalog, min_quality=0.99, max_cost=1e-12, capabilities=frozenset({"chat"}))


@pytest.mark.parametrize("wish", ["", "x"])
def test_one_that_lacks_one_thing_is_nearer_than_a_better_one_that_lacks_two(wish):
    catalog = catalog_of(
        entry("good", quality=0.9, input_price=10, output_price=10, aliases=("x",)),
        entry("poor", quality=0.4, input_price=0, output_price=0, tags=("here",), aliases=("x",)),
    )
    with pytest.raises(RouterError) as caught:
        planned(catalog, model=wish, min_quality=0.5, max_cost=1e-6, tags=("here",))
    assert caught.value.metadata["nearest"] == "poor"
    assert caught.value.metadata["lacks"] == "quality 0.400 is below the required 0.500"


@pytest.mark.parametrize("wish", ["", "small"])
def test_while_a_model_is_loading_asking_again_can_help(wish):
    held = [served("small", ready=False), served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        planned(build_catalog([SMALL, LARGE], held), model=wish)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert caught.value.retry_after == 1.0


def test_a_loading_model_that_is_not_good_enough_gives_no_hope():
    held = [served("small"), served("large", ready=False)]
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([SMALL, LARGE], held), min_quality=0.99)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_a_prompt_too_long_for_the_ready_models_may_fit_one_that_is_loading():
    held = [served("small", longest_token_bytes=81), served("large", ready=False)]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        planned(build_catalog([SMALL, LARGE], held), prompt_bytes=1_000_000)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)


def test_a_model_that_could_not_be_loaded_is_not_worth_asking_again():
    held = [served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="weights are broken") as caught:
        planned(build_catalog([LARGE], held))
    assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_CANDIDATE, None)


def test_an_empty_catalog_is_no_candidate():
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([], []))
    assert caught.value.reason is Reason.NO_CANDIDATE


@pytest.mark.parametrize(
    ("soon", "reason"),
    [
        ({"embedding"}, Reason.NO_CANDIDATE),
        ({"chat"}, Reason.MODEL_UNAVAILABLE),
        ((), Reason.MODEL_UNAVAILABLE),
    ],
)
def test_a_model_that_is_loading_gives_hope_unless_it_is_known_not_to_be_able(soon, reason):
    loading = served("soon", ready=False, capabilities=frozenset(soon))
    vectors = served("vectors", capabilities=frozenset({"embedding"}))
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([], [loading, vectors]), capabilities={"chat"})
    assert caught.value.reason is reason
