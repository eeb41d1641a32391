"""Policies over every profile, each seen to find what was planted."""

from __future__ import annotations

import copy
import subprocess

import kubernetes_validate
import pytest
import yaml
from tests.helm.conftest import (
    CHART,
    KUBE_SCORE,
    containers,
    helm,
    of_kind,
    pods,
    render,
    values_of,
    workloads,
)
from tests.helm.policies import secrets_told, unbounded, with_rights, without_probes

VERSIONS = ("1.30", "1.37")
"""The oldest that the chart admits, and the newest whose schemas are at hand."""


def test_helm_lints_every_profile(profile):
    said = helm("lint", str(CHART), "--strict", "--kube-version", "1.37.0", *values_of(profile))
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_the_api_of_kubernetes_says(objects, version):
    for one in objects:
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # not Kubernetes' own: an API server judges them in test_install
        kubernetes_validate.validate(one, version, strict=True)


def test_an_object_with_an_unknown_field_would_be_found(objects):
    planted = copy.deepcopy(workloads(objects)[0])
    planted["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(planted, "1.37", strict=True)


def test_every_container_of_a_service_is_probed(objects):
    assert not without_probes(objects)
    planted = copy.deepcopy(objects)
    del workloads(planted)[0]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert without_probes(planted)


@pytest.mark.parametrize(
    "plant",
    [
        lambda spec: spec["securityContext"].update(runAsNonRoot=False),
        lambda spec: spec["securityContext"].update(runAsUser=0),
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec.update(volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
        lambda spec: spec.pop("automountServiceAccountToken"),
        lambda spec: containers(spec)[0]["securityContext"].update(readOnlyRootFilesystem=False),
        lambda spec: containers(spec)[0]["securityContext"].update(privileged=True),
        lambda spec: containers(spec)[-1].pop("securityContext"),
    ],
)
def test_no_pod_may_do_more_than_compute(objects, plant):
    assert not with_rights(objects)
    planted = copy.deepcopy(objects)
    plant(next(iter(pods(planted).values())))
    assert with_rights(planted)


def test_every_container_says_what_it_needs(objects):
    assert not unbounded(objects)
    planted = copy.deepcopy(objects)
    del containers(next(iter(pods(planted).values())))[0]["resources"]["limits"]
    assert unbounded(planted)


def test_no_secret_stands_in_a_configmap(objects, tmp_path):
    assert of_kind(objects, "ConfigMap")
    assert not secrets_told(objects, tmp_path)
    planted = render('gateway.settings={"upstream": {"api_key": "sk-123"}}')
    assert "gateway.upstream.api_key" in secrets_told(planted, tmp_path)[0]


@pytest.mark.skipif(KUBE_SCORE is None, reason="kube-score is not built; `make chart-tools`")
def test_a_judge_of_charts_finds_nothing_critical(objects):
    # Where we mean otherwise: an image of a version does not change, a limit of CPU slows answers,
    # what is written to /tmp is bounded by its volume, and the pod of the test has no policy.
    otherwise = (
        "container-image-pull-policy", "container-ephemeral-storage-request-and-limit",
        "pod-networkpolicy",
    )  # fmt: skip
    flags = [part for one in otherwise for part in ("--ignore-test", one)]
    said = subprocess.run(
        [KUBE_SCORE, "score", "-", "--ignore-container-cpu-limit", *flags],
        input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout
