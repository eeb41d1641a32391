"""What replicas share, and what each keeps: Redis, keys, volumes."""

from __future__ import annotations

import pytest
from tests.helm.conftest import named, of_kind, pods, refused, render, settings_of, workloads
from tests.helm.policies import secrets_told

REDIS = (
    'redis.address="valkey.data.svc:6380"', 'redis.passwordSecret={"name": "valkey"}',
    "redis.tls=true", 'redis.caSecret={"name": "valkey-ca"}',
)  # fmt: skip


def mounted(objects, component):
    """Return the files of Secrets in a component's container, with where they come from."""
    spec = pods(objects)[f"rel-llmrouter-{component}"]
    volumes = {one["name"]: one for one in spec["volumes"] if "projected" in one}
    return {
        f"{mount['mountPath']}/{item['path']}": (source["secret"]["name"], item["key"])
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in volumes
        for source in volumes[mount["name"]]["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def test_without_redis_each_service_keeps_its_own():
    objects = render()
    assert settings_of(objects, "gateway").gateway.limits.redis is None
    assert settings_of(objects, "selector").selector.redis is None
    assert settings_of(objects, "cache").cache.shared is None
    assert not mounted(objects, "gateway")


def test_limits_state_and_answers_go_to_the_redis_that_is_given():
    objects = render(*REDIS)
    told = {
        "gateway": settings_of(objects, "gateway").gateway.limits.redis,
        "selector": settings_of(objects, "selector").selector.redis,
        "cache": settings_of(objects, "cache").cache.shared,
    }
    for component, redis in told.items():
        assert (redis.address, redis.tls) == ("valkey.data.svc:6380", True)
        assert mounted(objects, component) == {
            str(redis.password_file): ("valkey", "password"),
            str(redis.ca_file): ("valkey-ca", "ca.crt"),
        }
    assert not mounted(objects, "inference-main")


@pytest.mark.parametrize(
    ("part", "component", "used"),
    [
        ("limits", "gateway", lambda told: told.gateway.limits.redis),
        ("selector", "selector", lambda told: told.selector.redis),
        ("cache", "cache", lambda told: told.cache.shared),
    ],
)
def test_a_part_may_keep_its_own_beside_redis(part, component, used):
    objects = render(*REDIS, f"redis.{part}=false")
    assert used(settings_of(objects, component)) is None
    assert not mounted(objects, component)


def test_several_selectors_or_caches_need_something_to_share():
    for component in ("selector", "cache"):
        assert f"{component}.replicas above 1 needs redis" in refused(f"{component}.replicas=2")
        two = render(*REDIS, f"{component}.replicas=2")
        assert named(two, "StatefulSet", component)["spec"]["replicas"] == 2
        assert named(two, "PodDisruptionBudget", component)


def test_the_way_to_redis_is_open_to_those_who_use_it():
    def opened(objects, component):
        rules = named(objects, "NetworkPolicy", component)["spec"]["egress"]
        return [one for one in rules if one["ports"][0]["port"] == 6380]

    to = '[{"ipBlock": {"cidr": "10.1.0.0/16"}}]'
    objects = render(*REDIS, f"networkPolicy.redisTo={to}")
    for component in ("gateway", "selector", "cache"):
        [rule] = opened(objects, component)
        assert rule["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    assert not opened(objects, "inference-main")
    assert not opened(render(), "gateway")


def test_no_password_of_redis_stands_in_a_configmap(tmp_path):
    assert not secrets_told(render(*REDIS), tmp_path)
    planted = render('cache.settings={"shared": {"address": "a:1", "password": "x"}}')
    assert "cache.shared.password" in secrets_told(planted, tmp_path)[0]


def test_what_gateways_write_lies_where_they_may_write():
    objects = render()
    told = settings_of(objects, "gateway").gateway
    spec = pods(objects)["rel-llmrouter-gateway"]
    [data] = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "data"]
    for file in (told.ledger.file, told.limits.file, told.identity.audit_file):
        assert str(file.parent) == data["mountPath"]
    assert {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}} in spec["volumes"]


def test_gateways_that_keep_their_ledger_have_a_volume_each():
    objects = render('gateway.persistence={"enabled": true, "size": "9Gi"}')
    assert not of_kind(objects, "Deployment")
    made = named(objects, "StatefulSet", "gateway")["spec"]
    assert made["serviceName"] == named(objects, "Service", "gateway-headless")["metadata"]["name"]
    [claim] = made["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "9Gi"}
    assert made["replicas"] == 2
    assert "emptyDir" not in [key for one in made["template"]["spec"]["volumes"]
                              for key in one if one["name"] == "data"]  # fmt: skip


def test_all_gateways_take_the_keys_of_one_secret():
    objects = render('gateway.keysSecret="keys"')
    told = settings_of(objects, "gateway").gateway.identity
    assert mounted(objects, "gateway") == {
        str(told.key_store): ("keys", "keys.sqlite"),
        str(told.hash_secret_file): ("keys", "keys.sqlite.secret"),
    }
    assert settings_of(render(), "gateway").gateway.identity.hash_secret_file is None


def test_the_question_is_asked_with_a_key_where_one_is_wanted():
    question = named(render('test.apiKeySecret={"name": "k"}'), "Pod", "question")
    [variable] = question["spec"]["containers"][0]["env"]
    assert variable["name"] == "LLMROUTER_API_KEY"
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "k", "key": "key"}}
    assert "env" not in named(render(), "Pod", "question")["spec"]["containers"][0]


def test_every_workload_has_a_place_for_what_it_keeps(objects):
    for one in workloads(objects):
        spec = one["spec"]["template"]["spec"]
        there = {each["name"] for each in spec["volumes"]}
        there |= {each["metadata"]["name"] for each in one["spec"].get("volumeClaimTemplates", [])}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= there
