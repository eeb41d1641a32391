"""The catalog joins what is configured with what is served, and knows every name."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import catalog_of, entry, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog

SMOL = entry("smol-int8", aliases=("smol",), quality=0.3)


def names(models):
    return [f"{model.name}@{model.version}" for model in models]


def test_a_name_a_version_and_an_alias_lead_to_the_same_model():
    catalog = catalog_of(SMOL, entry("other"))
    for wish in ("smol-int8", "smol-int8@v1", "smol", "smol@v1"):
        assert names(catalog.resolve(wish)) == ["smol-int8@v1"]


def test_an_alias_of_two_models_leads_to_both():
    catalog = catalog_of(entry("a", aliases=("both",)), entry("b", aliases=("both",)))
    assert names(catalog.resolve("both")) == ["a@v1", "b@v1"]


def test_a_name_is_stronger_than_an_alias():
    catalog = catalog_of(entry("a"), entry("b", aliases=("a",)))
    assert names(catalog.resolve("a")) == ["a@v1"]


def test_an_unknown_name_is_refused_with_names_that_are_close():
    with pytest.raises(RouterError, match="smol-int8") as caught:
        catalog_of(SMOL, entry("zebra")).resolve("smol-int9")
    assert caught.value.reason is Reason.UNKNOWN_MODEL
    assert "zebra" not in caught.value.message


def test_an_unknown_name_like_no_other_is_refused_with_those_that_exist():
    with pytest.raises(RouterError, match="known: smol, smol-int8"):
        catalog_of(SMOL).resolve("????")


def test_an_unknown_version_of_a_served_model_is_refused_with_those_served():
    with pytest.raises(RouterError, match="smol-int8@v1") as caught:
        catalog_of(SMOL).resolve("smol@v9")
    assert caught.value.reason is Reason.UNKNOWN_MODEL


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ([], "no endpoint holds it"),
        ([served("smol-int8", ready=False)], "host:1 is still loading it"),
        ([served("smol-int8", ready=False, error="bad magic")], "could not load it: bad magic"),
    ],
)
def test_a_known_model_without_a_ready_endpoint_is_unavailable_with_cause_and_remedy(held, why):
    catalog = build_catalog([SMOL], held)
    for wish in ("smol", "smol-int8@v1"):
        with pytest.raises(RouterError, match=why) as caught:
            catalog.resolve(wish)
        assert caught.value.reason is Reason.MODEL_UNAVAILABLE
        assert "load it" in caught.value.message


def test_a_served_model_that_is_not_configured_joins_with_defaults():
    catalog = build_catalog([], [served("new")], unlisted_quality=0.6, unlisted_price=2.0)
    (model,) = catalog.resolve("new")
    assert (model.quality, model.prices.input, model.prices.output) == (0.6, 2.0, 2.0)
    assert model.prices.assumed


def test_endpoints_of_one_version_are_one_model_and_versions_are_apart():
    catalog = build_catalog(
        [SMOL],
        [
            served("smol-int8", "v2", "host:3"),
            served("smol-int8", "v1", "host:2", context=2048),
            served("smol-int8", "v1", "host:1"),
            served("smol-int8", "v1", "host:4", ready=False),
        ],
    )
    first, second = catalog.models
    assert [one.address for one in first.endpoints] == ["host:1", "host:2"]
    assert first.context == 2048
    assert (second.version, second.context) == ("v2", 8192)
    assert catalog.knows("smol-int8", "v2")
    assert not catalog.knows("smol-int8", "v3")


def test_quality_is_the_prior_lowered_by_the_measured_loss():
    catalog = build_catalog([SMOL], [served("smol-int8", quality_ratio=0.5)])
    assert catalog.models[0].quality == pytest.approx(0.15)


def test_names_of_models_that_cannot_answer_are_not_suggested():
    vectors = served("smol-vectors", capabilities=frozenset({"embedding"}))
    catalog = build_catalog([], [served("smol-chat"), vectors])
    with pytest.raises(RouterError, match=r"did you mean smol-vectors\?"):
        catalog.resolve("smol-vector", frozenset({"embedding"}))
    with pytest.raises(RouterError, match=r"known: smol-vectors$"):
        catalog.resolve("bert", frozenset({"embedding"}))
    with pytest.raises(RouterError, match=r"known: smol-chat, smol-vectors$"):
        catalog.resolve("bert")
