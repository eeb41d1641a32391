"""What the chart makes of its values."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import yaml
from tests.helm.conftest import (
    CHART,
    configurations,
    containers,
    named,
    of_kind,
    pods,
    refused,
    render,
    settings_of,
    workloads,
)

from llmrouter.common.settings import parse
from llmrouter.suite import SuiteSettings


def pod_spec(objects, kind, name):
    return named(objects, kind, name)["spec"]["template"]["spec"]


def test_every_configuration_is_one_that_its_service_takes(objects):
    for one in configurations(objects):
        service = one["metadata"]["labels"]["app.kubernetes.io/component"].split("-")[0]
        told = yaml.safe_load(one["data"]["llmrouter.yaml"])
        assert set(told) == {service, "telemetry"}
        parse(SuiteSettings, told, "")


def test_the_services_dial_each_other_where_they_listen(objects):
    told = settings_of(objects, "gateway").gateway
    for service, address in (("selector", told.selector_address), ("cache", told.cache_address)):
        host, _, port = address.partition(":")
        name, namespace, *domain = host.split(".")
        assert (namespace, domain) == ("ns", ["svc", "cluster", "local"])
        found = named(objects, "Service", name)
        assert [one["port"] for one in found["spec"]["ports"]] == [int(port), 9464]
        assert found["spec"]["clusterIP"] == "None"
        assert getattr(settings_of(objects, service), service).port == int(port)


def test_the_selector_is_told_of_every_replica_of_every_pool(objects):
    expected = {
        f"{one['metadata']['name']}-{index}.{one['spec']['serviceName']}.ns.svc.cluster.local:50054"
        for one in of_kind(objects, "StatefulSet")
        if "-inference-" in one["metadata"]["name"]
        for index in range(one["spec"].get("replicas") or most_of(objects, one))
    }
    assert set(settings_of(objects, "selector").selector.inference_addresses) == expected


def most_of(objects, workload):
    """Return the replicas that an autoscaler may make of a workload."""
    [scaler] = [
        one["spec"]
        for one in of_kind(objects, "HorizontalPodAutoscaler")
        if one["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
    ]
    return scaler["maxReplicas"]


def test_engines_are_found_while_they_load(objects):
    for one in of_kind(objects, "Service"):
        loading = "-inference-" in one["metadata"]["name"]
        assert bool(one["spec"].get("publishNotReadyAddresses")) is loading


def test_services_select_the_pods_of_their_own_component(objects):
    for one in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = one["spec"]
        wanted = (
            spec.get("podSelector", {}).get("matchLabels")
            or spec["selector"].get("matchLabels")
            or spec["selector"]
        )
        selected = [
            each["metadata"]["name"]
            for each in workloads(objects)
            if wanted.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert selected == [one["metadata"]["name"].removesuffix("-headless")]


def test_a_pod_outlives_the_drain_of_its_service(objects):
    for one in workloads(objects):
        spec = one["spec"]["template"]["spec"]
        service = spec["containers"][0]["name"]
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        told = getattr(settings_of(objects, component), service)
        before = spec["containers"][0].get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        waits = before["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] > told.drain_grace_seconds + waits


def test_by_default_streams_with_the_default_deadline_finish_before_their_pod_ends():
    objects = render()
    for component, service in (("gateway", "gateway"), ("inference-main", "inference")):
        told = getattr(settings_of(objects, component), service)
        assert told.drain_grace_seconds > SuiteSettings().gateway.default_deadline_seconds


def test_by_default_callers_have_gone_elsewhere_before_a_gateway_refuses_them():
    objects = render()
    [container] = pod_spec(objects, "Deployment", "gateway")["containers"]
    age = settings_of(objects, "gateway").gateway.connection_age_seconds
    # gRPC lets ages differ by a tenth, lest all connections be renewed at once.
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 1.1 * age


def test_probes_ask_where_health_is_answered(objects):
    for one in workloads(objects):
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        [container] = one["spec"]["template"]["spec"]["containers"]
        told = getattr(settings_of(objects, component), container["name"])
        liveness = {"port": told.health_port, "service": "liveness"}
        assert container["livenessProbe"]["grpc"] == liveness
        assert container["readinessProbe"]["grpc"] == {"port": told.health_port}


def test_a_changed_setting_restarts_the_component_that_it_belongs_to_and_no_other():
    def checksums(objects):
        return {
            one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"]
            for one in workloads(objects)
        }

    before, after = (
        checksums(render()),
        checksums(render('cache.settings={"max_entry_bytes": 9999}')),
    )
    assert [name for name in before if before[name] != after[name]] == ["rel-llmrouter-cache"]


def test_what_the_chart_decides_cannot_be_set_beside_it():
    why = refused('gateway.settings={"port": 6000}')
    assert "gateway: settings.port is decided by the chart" in why
    why = refused('gateway.settings={"identity": {"key_store": "/tmp/keys"}}')
    assert "gateway: settings.identity.key_store is decided by the chart" in why
    why = refused('telemetry.settings={"prometheus": {"port": 1}}')
    assert "telemetry: settings.prometheus.port is decided by the chart" in why


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('gateway.replica=3', "replica"),
        ('gateway.replicas="three"', "replicas"),
        ('image.digest="latest"', "digest"),
        ('inference.pools={"Main": {}}', "Main"),
        ('inference.pools={"main": {"replica": 2}}', "replica"),
        ('cache.persistence={"size": "lots"}', "size"),
        ('environment="prod"', "environment"),
    ],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused_by_name(value, told):
    assert told in refused(value)


def test_pools_differ_from_the_defaults_in_what_they_name():
    objects = render(
        'inference.pools={"main": {}, "big": {"replicas": 3, "settings": {"slots": 64}, '
        '"resources": {"limits": {"memory": "64Gi"}}, "image": {"tag": "0.1.0-cuda"}}}'
    )
    big = named(objects, "StatefulSet", "inference-big")
    assert big["spec"]["replicas"] == 3
    container = big["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "llmrouter:0.1.0-cuda"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "64Gi"}
    assert settings_of(objects, "inference-big").inference.slots == 64
    assert settings_of(objects, "inference-main").inference.slots == 16
    budgets = {one["metadata"]["name"] for one in of_kind(objects, "PodDisruptionBudget")}
    assert budgets == {"rel-llmrouter-gateway", "rel-llmrouter-inference-big"}


def test_a_pool_that_is_taken_out_is_gone():
    objects = render('inference.pools={"main": null, "other": {}}')
    names = {one["metadata"]["name"] for one in workloads(objects)}
    assert "rel-llmrouter-inference-other" in names
    assert "rel-llmrouter-inference-main" not in names


def test_models_are_pulled_into_the_store_that_the_engine_reads():
    spec = pod_spec(render(), "StatefulSet", "inference-main")
    [pull], [engine] = spec["initContainers"], spec["containers"]
    assert pull["args"] == [
        "models", "pull", "smollm2-135m-instruct", "--precision=int8",
        "--store=/var/lib/llmrouter/models", "--json",
    ]  # fmt: skip
    store = {"name": "data", "mountPath": "/var/lib/llmrouter/models"}
    assert store in pull["volumeMounts"]
    assert store in engine["volumeMounts"]
    assert "temporary" in [one["name"] for one in pull["volumeMounts"]]


def test_a_claim_of_yours_takes_the_place_of_volumes_and_pulls():
    pools = '{"main": {"store": {"claim": "models", "pull": []}}}'
    objects = render(f"inference.pools={pools}")
    made = named(objects, "StatefulSet", "inference-main")
    assert "volumeClaimTemplates" not in made["spec"]
    spec = made["spec"]["template"]["spec"]
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "models"}}
    assert claim in spec["volumes"]
    assert "initContainers" not in spec


def test_a_cache_without_a_volume_keeps_answers_in_memory():
    objects = render('cache.persistence={"enabled": false}')
    assert settings_of(objects, "cache").cache.disk_max_bytes == 0
    assert "volumeClaimTemplates" not in named(objects, "StatefulSet", "cache")["spec"]
    assert settings_of(render(), "cache").cache.disk_max_bytes > 0


def test_each_service_is_reached_by_those_that_call_it_and_nobody_else():
    objects = render()

    def callers(component):
        rule, metrics = named(objects, "NetworkPolicy", component)["spec"]["ingress"]
        assert metrics == {"ports": [{"protocol": "TCP", "port": 9464}]}
        return [
            one["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for one in rule["from"]
        ]

    assert callers("selector") == callers("cache") == ["gateway"]
    assert callers("inference-main") == ["gateway", "selector"]
    assert "from" not in named(objects, "NetworkPolicy", "gateway")["spec"]["ingress"][0]


def test_those_who_may_reach_the_gateway_can_be_named():
    namespace = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    objects = render(f"networkPolicy.gatewayFrom={json.dumps([namespace])}")
    rule, _ = named(objects, "NetworkPolicy", "gateway")["spec"]["ingress"]
    tested = rule["from"][1]["podSelector"]["matchLabels"]
    assert rule["from"][0] == namespace
    question = named(objects, "Pod", "question")
    assert tested.items() <= question["metadata"]["labels"].items()


def test_the_example_of_remote_providers_is_one_that_engines_take():
    told = (CHART / "README.md").read_text().partition("A pool of remote providers")[2]
    pools = yaml.safe_load(told.split("```")[1].removeprefix("yaml"))["inference"]["pools"]
    objects = render(f"inference.pools={json.dumps(pools)}")
    [provider] = settings_of(objects, "inference-remote").inference.providers
    [engine] = pod_spec(objects, "StatefulSet", "inference-remote")["containers"]
    assert provider.api_key_variable in [
        one["name"] for one in engine["env"] if "secretKeyRef" in one.get("valueFrom", {})
    ]


def test_engines_reach_what_they_are_let_to():
    def egress(objects):
        return named(objects, "NetworkPolicy", "inference-main")["spec"]["egress"][1:]

    assert egress(render()) == [{"ports": [{"protocol": "TCP", "port": 443}]}]
    assert egress(render('inference.pools={"main": {"egress": []}}')) == []


def test_the_autoscaler_alone_says_how_many_gateways_there_are():
    on = render('gateway.autoscaling={"enabled": true}')
    assert "replicas" not in named(on, "Deployment", "gateway")["spec"]
    scaler = named(on, "HorizontalPodAutoscaler", "gateway")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "rel-llmrouter-gateway"
    assert not of_kind(render(), "HorizontalPodAutoscaler")
    assert named(render(), "Deployment", "gateway")["spec"]["replicas"] == 2


def test_entrances_lead_to_the_gateway():
    objects = render("ingress.enabled=true", "httpIngress.enabled=true", "gatewayApi.enabled=true")
    for port in ("grpc", "http"):
        [rule] = named(objects, "Ingress", port)["spec"]["rules"]
        behind = rule["http"]["paths"][0]["backend"]["service"]
        assert behind == {"name": "rel-llmrouter-gateway", "port": {"name": port}}
    [route] = named(objects, "GRPCRoute", "rel-llmrouter")["spec"]["rules"]
    assert route["backendRefs"] == [{"name": "rel-llmrouter-gateway", "port": 50051, "weight": 1}]
    assert not of_kind(objects, "HTTPRoute")
    assert not of_kind(render(), "Ingress", "GRPCRoute", "HTTPRoute")
    objects = render("gatewayApi.enabled=true", 'gatewayApi.httpHostnames=["a.example.com"]')
    http = named(objects, "HTTPRoute", "rel-llmrouter")["spec"]
    assert http["hostnames"] == ["a.example.com"]
    assert http["rules"][0]["backendRefs"][0]["port"] == 8080


def test_a_gateway_speaks_http_where_it_says_so():
    for wanted, port in (("true", 8080), ("false", None)):
        objects = render(f"gateway.http={wanted}")
        assert settings_of(objects, "gateway").gateway.http_port == port
        [container] = pod_spec(objects, "Deployment", "gateway")["containers"]
        assert ("http" in [one["name"] for one in container["ports"]]) is (port is not None)
        for name in ("gateway", "gateway-headless"):
            told = named(objects, "Service", name)["spec"]["ports"]
            assert ("http" in [one["name"] for one in told]) is (port is not None)
        rule, _ = named(objects, "NetworkPolicy", "gateway")["spec"]["ingress"]
        opened = {one["port"] for one in rule["ports"]}
        assert opened == {50051, *([port] if port else [])}
    assert "set gateway.http" in refused("gateway.http=false", "httpIngress.enabled=true")


def test_secrets_are_referred_to():
    value = {"name": "PIP_INDEX_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    objects = render(
        f"inference.defaults.env={json.dumps([value])}", 'imagePullSecrets=["registry"]'
    )
    spec = pod_spec(objects, "StatefulSet", "inference-main")
    assert all(value in one["env"] for one in containers(spec))
    assert all(one["imagePullSecrets"] == [{"name": "registry"}] for one in pods(objects).values())


def test_an_image_by_digest_is_that_image_whatever_its_tag():
    digest = f"sha256:{'a' * 64}"
    objects = render(f'image.digest="{digest}"', 'image.tag="9"')
    images = {one["image"] for spec in pods(objects).values() for one in containers(spec)}
    assert images == {f"llmrouter@{digest}"}


def test_the_test_asks_its_question_at_the_gateway():
    question = named(render('test.question="Why?"'), "Pod", "question")
    assert question["metadata"]["annotations"]["helm.sh/hook"] == "test"
    arguments = question["spec"]["containers"][0]["args"]
    assert arguments[:2] == ["generate", "Why?"]
    assert "--address=rel-llmrouter-gateway:50051" in arguments


def test_every_value_has_a_comment_and_a_place_in_the_schema():
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert not list(_uncommented(text))
    assert not list(_unknown(yaml.safe_load(text), schema, schema))


def _uncommented(text):
    """Yield the values that have no comment above them, but for what Kubernetes itself explains."""
    inside = None
    for before, line in itertools.pairwise(text.splitlines()):
        key = re.match(r"( *)([\w./-]+):", line)
        if key is None or (inside is not None and len(key[1]) > inside):
            continue
        inside = len(key[1]) if key[2] in ("resources", "annotations") else None
        if not before.strip().startswith("#"):
            yield key[2]


def _unknown(values, schema, root, path=""):
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, value in values.items():
        below = schema.get("properties", {}).get(name)
        if below is None:
            yield f"{path}.{name}"
        elif isinstance(value, dict) and ("properties" in below or "$ref" in below):
            yield from _unknown(value, below, root, f"{path}.{name}")
