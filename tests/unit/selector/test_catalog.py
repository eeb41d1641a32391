"""The catalog joins what is configured with what is served, and knows every name."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import catalog_of, entry, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.view import view_of

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


@pytest.mark.parametrize(
    ("silent", "why", "loading"),
    [(True, "host:1 does not answer", False), (False, "host:1 is still loading it", True)],
)
def test_a_version_that_served_before_is_away_until_one_is_ready(silent, why, loading):
    last = served("smol-int8", "v1", ready=False, silent=silent)
    catalog = build_catalog([SMOL], [last])
    for wish in ("smol", "smol-int8@v1"):
        [model] = catalog.resolve(wish)
        assert (model.version, model.away, model.trouble) == ("v1", True, why)
        assert (model.loading, model.context) == (loading, 8192)
    assert view_of(catalog).find("smol-int8", "v1") is None
    ready = served("smol-int8", "v2", "host:2")
    assert names(build_catalog([SMOL], [last, ready]).models) == ["smol-int8@v2"]


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
    assert first.context == 8192
    assert (second.version, second.context) == ("v2", 8192)
    assert view_of(catalog).find("smol-int8", "v2") is second
    assert view_of(catalog).find("smol-int8", "v3") is None


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
    with pytest.raises(RouterError, match=r"known: smol-chat$"):
        catalog.resolve("bert")


def test_the_names_told_are_those_of_models_that_are_here_listed_or_not():
    plain = served("plain", capabilities=frozenset({"completion"}))
    held = [served("smol-int8"), plain, served("soon", version="", ready=False)]
    catalog = build_catalog([SMOL, entry("absent")], held)
    with pytest.raises(RouterError, match=r"known: plain, smol, smol-int8, soon$"):
        catalog.resolve("????", frozenset({"chat"}))
    with pytest.raises(RouterError, match=r"known: none$"):
        build_catalog([SMOL], []).resolve("????")


def test_versions_stand_side_by_side_and_the_stable_one_is_meant_where_none_is_named():
    held = [
        served("m", "v1", names=frozenset({"old"})),
        served("m", "v2", names=frozenset({"new", "stable"})),
    ]
    catalog = build_catalog([entry("m", aliases=("x",))], held)
    assert names(catalog.models) == names(catalog.resolve("m")) == ["m@v2"]
    assert names(catalog.resolve("m@v1")) == names(catalog.resolve("x@old")) == ["m@v1"]
    assert names(catalog.resolve("m@stable")) == ["m@v2"]
    assert view_of(catalog).find("m", "v1")
    with pytest.raises(RouterError, match="served: m@v2, m@v1"):
        catalog.resolve("m@v9")


def test_where_no_version_is_stable_all_are_meant():
    held = [served("m", "v1"), served("m", "v2", names=frozenset({"new"}))]
    assert names(build_catalog([], held).resolve("m")) == ["m@v1", "m@v2"]


def test_nodes_that_differ_in_what_is_stable_offer_both():
    held = [
        served("m", "v1", "host:1", names=frozenset({"stable"})),
        served("m", "v2", "host:2", names=frozenset({"stable"})),
    ]
    assert names(build_catalog([], held).models) == ["m@v1", "m@v2"]


def test_a_model_that_loads_on_demand_is_meant_where_it_is_nowhere_ready():
    ready = served("m", "v1", "host:1")
    asleep = served("m", "v1", "host:2", ready=False, on_demand=True)
    both, one = (build_catalog([], held).models[0] for held in ([ready, asleep], [asleep]))
    assert [served.address for served in both.endpoints] == ["host:1"]
    assert [served.address for served in one.endpoints] == ["host:2"]


def test_a_served_model_that_nobody_could_name_does_no_harm_to_others():
    models = build_catalog([], [served("good"), served("good copy"), served("")]).models
    assert names(models) == ["good@v1"]
