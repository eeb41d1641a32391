"""TLS between the services of the chart."""

from __future__ import annotations

import kubernetes_validate
import pytest
from tests.helm.conftest import named, of_kind, pods, refused, render, settings_of, workloads
from tests.helm.policies import with_rights, without_probes

MANAGED = ('tls.mode="cert-manager"', 'tls.issuerRef={"name": "ours"}')


def believed(pattern, host):
    """Whether a certificate for `pattern` is one for `host`: a star stands for one label."""
    if not pattern.startswith("*."):
        return pattern == host
    return host.partition(".")[2] == pattern[2:]


@pytest.fixture
def managed():
    return render(*MANAGED)


def test_without_tls_there_is_none():
    objects = render()
    assert not of_kind(objects, "Certificate")
    assert all(
        getattr(settings_of(objects, name), name).tls is None for name in ("gateway", "cache")
    )
    assert not [
        volume for spec in pods(objects).values() for volume in spec.get("volumes", [])
        if volume["name"] == "tls"
    ]  # fmt: skip


def test_every_component_shows_a_certificate_of_its_own(managed):
    made = {one["metadata"]["name"]: one["spec"] for one in of_kind(managed, "Certificate")}
    for one in workloads(managed):
        name = one["metadata"]["name"]
        spec = one["spec"]["template"]["spec"]
        [volume] = [volume for volume in spec["volumes"] if volume["name"] == "tls"]
        assert volume["secret"]["secretName"] == made[name]["secretName"]
        assert {"server auth", "client auth"} == set(made[name]["usages"])
        assert made[name]["issuerRef"]["name"] == "ours"
        mounted = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert "/etc/llmrouter-tls" in mounted
    assert len(made) == len(workloads(managed))


def test_certificates_are_for_the_names_that_are_dialled(managed):
    def names(component):
        return named(managed, "Certificate", component)["spec"]["dnsNames"]

    gateway, selector = (
        settings_of(managed, "gateway").gateway,
        settings_of(managed, "selector").selector,
    )
    dialled = [("selector", gateway.selector_address), ("cache", gateway.cache_address)]
    dialled += [("inference-main", address) for address in selector.inference_addresses]
    question = named(managed, "Pod", "question")["spec"]["containers"][0]["args"]
    [asked] = [part for part in question if part.startswith("--address=")]
    dialled.append(("gateway", asked.removeprefix("--address=")))
    for component, address in dialled:
        host = address.rpartition(":")[0]
        assert any(believed(name, host) for name in names(component)), address


def test_services_let_those_in_who_show_a_certificate_and_gateways_everybody(managed):
    ca = "/etc/llmrouter-tls/ca.crt"
    for component in ("selector", "cache", "inference-main"):
        told = getattr(settings_of(managed, component), component.split("-")[0])
        assert str(told.tls.client_ca_file) == ca
    assert settings_of(managed, "gateway").gateway.tls.client_ca_file is None
    strict = render(*MANAGED, "tls.gatewayClients=true")
    assert str(settings_of(strict, "gateway").gateway.tls.client_ca_file) == ca


def test_those_that_call_others_show_theirs_and_believe_the_same_authority(managed):
    for component in ("gateway", "selector"):
        told = getattr(settings_of(managed, component), component).dial_tls
        assert str(told.ca_file) == "/etc/llmrouter-tls/ca.crt"
        assert str(told.certificate_file) == "/etc/llmrouter-tls/tls.crt"


def test_probes_go_where_there_is_no_tls(managed):
    for one in workloads(managed):
        [container] = one["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert container["readinessProbe"]["grpc"]["port"] == ports["health"] != ports["grpc"]


def test_no_service_says_that_it_speaks_without_tls(managed):
    for objects, said in ((managed, None), (render(), "kubernetes.io/h2c")):
        for one in of_kind(objects, "Service"):
            [port] = [port for port in one["spec"]["ports"] if port["name"] == "grpc"]
            assert port.get("appProtocol") == said


def test_pods_with_certificates_may_do_no_more_than_others(managed):
    assert not with_rights(managed)
    assert not without_probes(managed)
    for one in managed:
        if one["kind"] != "Certificate":
            kubernetes_validate.validate(one, "1.37", strict=True)


def test_given_secrets_are_the_ones_that_cert_manager_would_make(managed):
    def mounted(objects):
        return {
            name: [volume for volume in spec["volumes"] if volume["name"] == "tls"]
            for name, spec in pods(objects).items()
        }

    given = render('tls.mode="secrets"')
    assert mounted(given) == mounted(managed)
    assert not of_kind(given, "Certificate")


def test_cert_manager_needs_an_issuer():
    assert "issuerRef" in refused('tls.mode="cert-manager"')


def test_more_names_of_the_gateway_are_in_its_certificate():
    objects = render(*MANAGED, 'tls.gatewayNames=["llm.example.com"]')
    assert "llm.example.com" in named(objects, "Certificate", "gateway")["spec"]["dnsNames"]
    assert "llm.example.com" not in named(objects, "Certificate", "cache")["spec"]["dnsNames"]
