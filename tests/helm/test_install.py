"""The chart on a real API server: installed, upgraded, rolled back, its pods admitted.

No controller and no node stand behind it: what is proven is that the server takes every object,
by the strictest of its standards for pods, and every step of a release.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.helm.conftest import CHART, GOBIN, helm, pod_of, values_of
from tests.support.ports import free_ports

API_SERVER = GOBIN / "kube-apiserver"
TOKEN = "a-token-of-this-test"  # noqa: S105 - made up here
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not API_SERVER.exists(), reason="no API server is built; `make chart-cluster` does it"
    ),
]


class Cluster:
    """An API server and how it is asked."""

    def __init__(self, address, kubeconfig):
        self.address, self.kubeconfig = address, kubeconfig
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE  # it signs for itself; this is loopback

    def ask(self, path, body=None):
        """Return the code and the body of an answer."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.address}{path}", data, headers)  # noqa: S310
        try:
            opened = urllib.request.urlopen(asked, timeout=30, context=self._context)  # noqa: S310
            with opened as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def helm(self, *arguments):
        done = helm(*arguments, "--namespace", "models", "--kubeconfig", str(self.kubeconfig))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def there(self, path):
        """Return the objects at a path of the API by name."""
        _, answer = self.ask(path)
        return {one["metadata"]["name"]: one for one in json.loads(answer)["items"]}


@contextlib.contextmanager
def program(log, *command):
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """An API server with its store, and a namespace that admits restricted pods only."""
    folder = tmp_path_factory.mktemp("cluster")
    client, peer, port = free_ports(3)
    stored, key = f"http://127.0.0.1:{client}", folder / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,1\n")
    etcd = [
        GOBIN / "etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={stored}",
        f"--advertise-client-urls={stored}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    server = [
        API_SERVER, f"--etcd-servers={stored}", f"--secure-port={port}", "--bind-address=127.0.0.1",
        f"--cert-dir={folder}", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--service-account-issuer=https://127.0.0.1",
        "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=AlwaysAllow",
        f"--token-auth-file={folder / 'tokens.csv'}", "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip
    made = Cluster(f"https://127.0.0.1:{port}", kubeconfig(folder, port))
    with program(folder / "etcd.log", *etcd), program(folder / "server.log", *server) as serving:
        wait_until_ready(made, serving, folder / "server.log")
        metadata = {"name": "models", "labels": RESTRICTED}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        assert made.ask("/api/v1/namespaces", body)[0] == 201
        body = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "nvidia"}
        body["metadata"] = {"name": "nvidia"}  # what the operator of GPUs brings
        assert made.ask("/apis/node.k8s.io/v1/runtimeclasses", body)[0] == 201
        for definition in definitions():
            code, why = made.ask(f"{CUSTOM}/customresourcedefinitions", definition)
            assert code == 201, why
        yield made


CUSTOM = "/apis/apiextensions.k8s.io/v1"
DEFINITIONS = (
    ("github.com/cert-manager/cert-manager@v1.18.2", "deploy/crds/crd-certificates.yaml"),
    (
        "sigs.k8s.io/gateway-api@v1.3.0",
        "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
    ),
    (
        "sigs.k8s.io/gateway-api@v1.3.0",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    *(
        (
            "github.com/prometheus-operator/prometheus-operator@v0.85.0",
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml",
        )
        for kind in ("servicemonitors", "podmonitors", "prometheusrules")
    ),
    ("github.com/kedacore/keda/v2@v2.16.1", "config/crd/bases/keda.sh_scaledobjects.yaml"),
)
"""Modules that define kinds of their own, and where."""


def definitions():
    """Return the definitions of kinds that are not Kubernetes' own as their projects ship them."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed, whose modules define certificates, routes and monitors")
    for module, file in DEFINITIONS:
        told = subprocess.run(
            ["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True
        )
        text = (Path(json.loads(told.stdout)["Dir"]) / file).read_text()
        defined = next(one for one in yaml.safe_load_all(text) if one is not None)
        defined["metadata"].pop("labels", None)  # templates of another chart
        yield defined


def kubeconfig(folder, port):
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    path = folder / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }))  # fmt: skip
    path.chmod(0o600)
    return path


def wait_until_ready(cluster, serving, log):
    until = time.monotonic() + 120
    while time.monotonic() < until and serving.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if cluster.ask("/readyz")[0] == 200:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


STATEFUL_SETS = "/apis/apps/v1/namespaces/models/statefulsets"
PODS = "/api/v1/namespaces/models/pods"


def test_a_release_is_installed_upgraded_rolled_back_and_taken_away(cluster):
    cluster.helm("install", "rel", str(CHART), "--set-json", "ingress.enabled=true")
    name = "rel-llmrouter-inference-main"
    assert cluster.there(STATEFUL_SETS)[name]["spec"]["replicas"] == 1
    more = ['inference.pools={"main": {"replicas": 3}, "other": {}}', 'image.tag="0.1.1"']
    chosen = [part for one in more for part in ("--set-json", one)]
    cluster.helm("upgrade", "rel", str(CHART), *chosen)
    changed = cluster.there(STATEFUL_SETS)
    assert changed[name]["spec"]["replicas"] == 3
    assert "rel-llmrouter-inference-other" in changed
    cluster.helm("rollback", "rel", "1")
    back = cluster.there(STATEFUL_SETS)
    assert back[name]["spec"]["replicas"] == 1
    assert "rel-llmrouter-inference-other" not in back
    cluster.helm("uninstall", "rel")
    assert not cluster.there(STATEFUL_SETS)


def test_certificates_and_routes_are_what_their_projects_define(cluster):
    values = [
        'gatewayApi={"enabled": true, "httpHostnames": ["a.b"]}',
        'tls={"mode": "cert-manager", "issuerRef": {"name": "ours"}}',
    ]  # fmt: skip
    chosen = [part for one in values for part in ("--set-json", one)]
    cluster.helm("install", "two", str(CHART), *chosen)
    try:
        made = cluster.there("/apis/cert-manager.io/v1/namespaces/models/certificates")
        assert set(made) == {
            f"two-llmrouter-{name}" for name in ("gateway", "selector", "cache", "inference-main")
        }
        for kind in ("grpcroutes", "httproutes"):
            routes = f"/apis/gateway.networking.k8s.io/v1/namespaces/models/{kind}"
            assert set(cluster.there(routes)) == {"two-llmrouter"}
    finally:
        cluster.helm("uninstall", "two")


@pytest.mark.parametrize("monitors", ["service", "pod"])
def test_monitors_rules_and_scalers_are_what_their_projects_define(cluster, monitors):
    values = [
        f'monitoring={{"monitors": "{monitors}", "rules": true, "dashboards": true}}',
        'inference.defaults.autoscaling={"kind": "keda"}',
        'gateway.autoscaling={"enabled": true, "calls": 8}',
        'redis={"address": "r:6379", "passwordSecret": {"name": "r"}}',
        'gateway.keysSecret="keys"', 'selector.replicas=2',
    ]  # fmt: skip
    chosen = [part for one in values for part in ("--set-json", one)]
    cluster.helm("install", "all", str(CHART), *chosen)
    try:
        for group, kind in (
            ("monitoring.coreos.com/v1", f"{monitors}monitors"),
            ("monitoring.coreos.com/v1", "prometheusrules"),
        ):
            made = cluster.there(f"/apis/{group}/namespaces/models/{kind}")
            assert set(made) == {"all-llmrouter"}
        scaled = cluster.there("/apis/keda.sh/v1alpha1/namespaces/models/scaledobjects")
        assert set(scaled) == {"all-llmrouter-inference-main"}
        told = cluster.there("/api/v1/namespaces/models/configmaps")
        assert sum("-dashboard-" in name for name in told) >= 5
    finally:
        cluster.helm("uninstall", "all")


def test_the_weights_of_two_releases_are_shifted_by_an_upgrade_of_their_routes(cluster):
    def routes(blue):
        weights = {"blue": blue, "green": 100 - blue}
        backends = [
            {"name": f"{name}-llmrouter-gateway", "weight": weight}
            for name, weight in weights.items()
        ]
        told = {"enabled": True, "only": True, "httpHostnames": ["a.b"], "backends": backends}
        return ["--set-json", f"gatewayApi={json.dumps(told)}"]

    cluster.helm("install", "routes", str(CHART), *routes(100))
    try:
        cluster.helm("upgrade", "routes", str(CHART), *routes(70))
        for kind in ("grpcroutes", "httproutes"):
            path = f"/apis/gateway.networking.k8s.io/v1/namespaces/models/{kind}"
            [rule] = cluster.there(path)["routes-llmrouter"]["spec"]["rules"]
            assert [one["weight"] for one in rule["backendRefs"]] == [70, 30]
        assert not cluster.there(STATEFUL_SETS)
    finally:
        cluster.helm("uninstall", "routes")


def test_every_profile_is_taken_by_the_server(cluster, profile):
    cluster.helm("install", "one", str(CHART), *values_of(profile))
    try:
        assert len(cluster.there(STATEFUL_SETS)) >= 3
    finally:
        cluster.helm("uninstall", "one")


def test_every_pod_meets_the_strictest_standard_of_the_server(cluster, objects):
    makers = [one for one in objects if one["kind"] in ("Deployment", "StatefulSet", "Pod")]
    assert len(makers) >= 5
    for one in makers:
        code, why = dry_run(cluster, as_made(one))
        assert code == 201, (one["metadata"]["name"], why)


def test_the_server_would_refuse_a_pod_that_may_be_root(cluster, objects):
    maker = next(one for one in objects if one["kind"] in ("Deployment", "StatefulSet"))
    spec = json.loads(json.dumps(as_made(maker)))
    del spec["securityContext"]["runAsNonRoot"]
    code, why = dry_run(cluster, spec)
    assert code == 403
    assert "runAsNonRoot" in why


def as_made(maker):
    """Return a pod's spec with the volumes that a controller adds for its claims."""
    spec = pod_of(maker)["spec"]
    claims = maker["spec"].get("volumeClaimTemplates", [])
    names = [claim["metadata"]["name"] for claim in claims]
    added = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    return spec | {"volumes": [*spec.get("volumes", []), *added]}


def dry_run(cluster, spec):
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
    return cluster.ask(f"{PODS}?dryRun=All", body)
