"""Metrics, monitors, rules, dashboards, and autoscalers that follow them."""

from __future__ import annotations

import json
import shlex

import pytest
import yaml
from tests.helm.conftest import (
    CHART,
    ROOT,
    configurations,
    helm,
    named,
    of_kind,
    refused,
    render,
    settings_of,
    workloads,
)

from llmrouter.common.telemetry.names import Name

WATCHED = ('monitoring={"monitors": "service", "rules": true, "dashboards": true}',)


def test_every_pod_has_the_page_where_its_service_serves_it(objects):
    for one in workloads(objects):
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        told = settings_of(objects, component).telemetry.prometheus
        [container] = one["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert (told.enabled, told.host, told.port) == (True, "0.0.0.0", ports["metrics"])  # noqa: S104


def test_without_metrics_there_is_no_page_and_no_port():
    objects = render("telemetry.metrics=false")
    assert not settings_of(objects, "cache").telemetry.prometheus.enabled
    for one in of_kind(objects, "Service"):
        assert "metrics" not in [port["name"] for port in one["spec"]["ports"]]
    [rule] = named(objects, "NetworkPolicy", "cache")["spec"]["ingress"]
    assert "9464" not in json.dumps(rule)
    assert "turn that on" in refused("telemetry.metrics=false", *WATCHED)


@pytest.mark.parametrize(
    ("kind", "ports"), [("service", "endpoints"), ("pod", "podMetricsEndpoints")]
)
def test_a_monitor_finds_every_page_once(kind, ports):
    objects = render(f'monitoring={{"monitors": "{kind}", "labels": {{"release": "prom"}}}}')
    [monitor] = of_kind(objects, "ServiceMonitor", "PodMonitor")
    assert monitor["kind"].lower().startswith(kind)
    assert monitor["metadata"]["labels"]["release"] == "prom"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    [endpoint] = monitor["spec"][ports]
    scraped = [
        one["spec"]["selector"]["app.kubernetes.io/component"]
        for one in of_kind(objects, "Service")
        if wanted <= one["metadata"]["labels"].items()
        and endpoint["port"] in [port["name"] for port in one["spec"]["ports"]]
    ]
    assert sorted(scraped) == ["cache", "gateway", "inference-main", "selector"]


def test_those_who_scrape_can_be_named():
    who = [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]
    objects = render(f"networkPolicy.metricsFrom={json.dumps(who)}")
    for one in of_kind(objects, "NetworkPolicy"):
        assert {"ports": [{"protocol": "TCP", "port": 9464}], "from": who} in one["spec"]["ingress"]


def test_rules_are_those_that_were_proven():
    [rule] = of_kind(render(*WATCHED), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "rules/llmrouter.yaml").read_text())


def test_every_dashboard_is_a_configmap_that_the_sidecar_finds():
    objects = render(*WATCHED, 'monitoring.dashboardAnnotations={"grafana_folder": "llm"}')
    told = {id(one) for one in configurations(objects)}
    made = [one for one in of_kind(objects, "ConfigMap") if id(one) not in told]
    found = {}
    for one in made:
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "llm"}
        found |= {name: json.loads(text) for name, text in one["data"].items()}
    expected = {
        f"llmrouter-{path.name}": json.loads(path.read_text())
        for path in CHART.glob("dashboards/*.json")
    }
    assert found == expected
    assert len(expected) >= 5


def test_a_collector_is_told_to_all_and_reached_by_all():
    objects = render(
        'telemetry={"otlpEndpoint": "https://otel.data:4317", "settings": {"sampled": 0.5}, '
        '"otlpHeadersSecret": {"name": "otel"}}'
    )
    for one in workloads(objects):
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        told = settings_of(objects, component).telemetry
        assert (told.otlp_endpoint, told.sampled) == ("https://otel.data:4317", 0.5)
        mounts = one["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert str(told.otlp_headers_file.parent) in [mount["mountPath"] for mount in mounts]
        policy = named(objects, "NetworkPolicy", component)["spec"]["egress"]
        assert {"ports": [{"protocol": "TCP", "port": 4317}]} in policy
    without = render('telemetry.otlpEndpoint="https://otel.data"')
    policy = named(without, "NetworkPolicy", "cache")["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 443}]} in policy


def test_a_pool_that_is_scaled_has_bounds_that_the_selector_knows():
    scaled = '{"main": {"autoscaling": {"kind": "hpa", "min": 2, "max": 5}}, "still": {}}'
    objects = render(f"inference.pools={scaled}")
    name = "rel-llmrouter-inference-main"
    told = settings_of(objects, "selector").selector
    pool = told.scaling.pools[name]
    assert (pool.least, pool.most, len(pool.addresses)) == (2, 5, 5)
    assert set(pool.addresses) < set(told.inference_addresses)
    still = told.scaling.pools["rel-llmrouter-inference-still"]
    assert len(still.addresses) == 1
    assert "replicas" not in named(objects, "StatefulSet", name)["spec"]
    assert named(objects, "PodDisruptionBudget", name)


def test_an_autoscaler_follows_the_replicas_that_are_wanted():
    objects = render('inference.defaults.autoscaling={"kind": "hpa", "min": 2, "max": 5}')
    scaler = named(objects, "HorizontalPodAutoscaler", "inference-main")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    target = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "rel-llmrouter-inference-main",
    }
    assert scaler["scaleTargetRef"] == target
    [metric] = scaler["metrics"]
    assert metric["external"]["metric"] == {
        "name": str(Name.DESIRED_REPLICAS),
        "selector": {"matchLabels": {"pool": "rel-llmrouter-inference-main"}},
    }
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    assert "must not exceed" in refused('inference.defaults.autoscaling={"kind": "hpa", "min": 9}')


def test_keda_asks_prometheus_for_what_the_services_measure():
    objects = render('inference.defaults.autoscaling={"kind": "keda", "queue": 7}')
    [scaled] = of_kind(objects, "ScaledObject")
    assert not of_kind(objects, "HorizontalPodAutoscaler")
    triggers = {one["name"]: one["metadata"] for one in scaled["spec"]["triggers"]}
    for name, measured in (
        ("desired", (Name.DESIRED_REPLICAS,)),
        ("queue", (Name.QUEUE_SIZE,)),
        ("slots", (Name.RUNNING, Name.SLOTS)),
    ):
        assert all(str(one) in triggers[name]["query"] for one in measured)
    assert triggers["queue"]["threshold"] == "7"
    assert 'pod=~"rel-llmrouter-inference-main-[0-9]+"' in triggers["queue"]["query"]


def test_gateways_may_follow_their_calls_as_well():
    objects = render('gateway.autoscaling={"enabled": true, "calls": 64}')
    _, calls = named(objects, "HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    assert calls["pods"]["metric"]["name"] == str(Name.RPC_ACTIVE).replace(".", "_")
    assert calls["pods"]["target"]["averageValue"] == "64"
    kept = render('gateway.autoscaling={"enabled": true}', "gateway.persistence.enabled=true")
    scaler = named(kept, "HorizontalPodAutoscaler", "gateway")["spec"]
    assert scaler["scaleTargetRef"]["kind"] == "StatefulSet"
    assert len(scaler["metrics"]) == 1


def test_routes_alone_share_calls_between_two_releases():
    weights = {"blue": 90, "green": 10}
    backends = json.dumps(
        [{"name": f"{one}-llmrouter-gateway", "weight": each} for one, each in weights.items()]
    )
    values = '{"enabled": true, "only": true, "httpHostnames": ["a.b"], "backends": %s}'
    objects = render(f"gatewayApi={values % backends}")
    assert {one["kind"] for one in objects} == {"GRPCRoute", "HTTPRoute"}
    for kind, port in (("GRPCRoute", 50051), ("HTTPRoute", 8080)):
        [rule] = named(objects, kind, "rel-llmrouter")["spec"]["rules"]
        assert rule["backendRefs"] == [
            {"name": "blue-llmrouter-gateway", "port": port, "weight": 90},
            {"name": "green-llmrouter-gateway", "port": port, "weight": 10},
        ]
    assert "gatewayApi.backends" in refused('gatewayApi={"only": true}')
    assert "disable it" in refused(f"gatewayApi={values % backends}", "ingress.enabled=true")


def test_the_command_of_the_guide_shifts_the_weights():
    told = (ROOT / "docs/operations.md").read_text().partition("--apply '")[2].partition("'")[0]
    words = [part.replace("{old}", "70").replace("{new}", "30") for part in shlex.split(told)]
    assert words[:4] == ["helm", "upgrade", "llm", "helm/llmrouter"]
    chosen = [part for part in words[4:] if part != "--reuse-values"]
    routes = ["--set-json", 'gatewayApi={"enabled": true, "only": true, "backends": []}']
    done = helm("template", "llm", str(CHART), "--kube-version", "1.37.0", *routes, *chosen)
    assert done.returncode == 0, done.stderr
    [route] = [one for one in yaml.safe_load_all(done.stdout) if one]
    [rule] = route["spec"]["rules"]
    assert {one["name"]: one["weight"] for one in rule["backendRefs"]} == {
        "blue-llmrouter-gateway": 70,
        "green-llmrouter-gateway": 30,
    }
