"""The chart rendered by helm, and what is in it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from llmrouter.common.settings import parse
from llmrouter.suite import SuiteSettings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/llmrouter"
GOBIN = ROOT / "build/gobin"
PROFILES = ("", "development", "production", "gpu")
_WHERE = f"{GOBIN}{os.pathsep}{os.environ['PATH']}"
HELM = shutil.which("helm", path=_WHERE)
KUBE_SCORE = shutil.which("kube-score", path=_WHERE)


def helm(*arguments, **options):
    """Run helm on the chart; skip where there is none."""
    if HELM is None:
        pytest.skip("helm is not installed; `make chart-tools` does it")
    return subprocess.run(
        [HELM, *arguments], capture_output=True, text=True, check=False, timeout=60, **options
    )


def values_of(profile):
    return ["--values", str(CHART / f"values-{profile}.yaml")] if profile else []


@functools.cache
def _rendered(profile, settings):
    chosen = [part for one in settings for part in ("--set-json", one)]
    command = ["template", "rel", str(CHART), "--namespace", "ns", "--kube-version", "1.37.0"]
    return helm(*command, *values_of(profile), *chosen)


def refused(*settings, profile=""):
    """Return why a chart with these values is not rendered."""
    done = _rendered(profile, settings)
    assert done.returncode != 0
    return done.stderr


def render(*settings, profile=""):
    """Return every object of the chart with these values (`path=json`)."""
    done = _rendered(profile, settings)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one is not None]


def named(objects, kind, name):
    """Return the object of that kind whose name ends so."""
    [found] = [
        one
        for one in objects
        if one["kind"] == kind and one["metadata"]["name"] in (name, f"rel-llmrouter-{name}")
    ]
    return found


def of_kind(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def configurations(objects):
    """Return the ConfigMaps that services are configured by; others hold dashboards."""
    return [one for one in of_kind(objects, "ConfigMap") if "llmrouter.yaml" in one["data"]]


def settings_of(objects, component):
    """Return what a component would read, as its settings."""
    text = named(objects, "ConfigMap", component)["data"]["llmrouter.yaml"]
    return parse(SuiteSettings, yaml.safe_load(text), "")


def workloads(objects):
    return of_kind(objects, "Deployment", "StatefulSet")


def pod_of(workload):
    return workload if workload["kind"] == "Pod" else workload["spec"]["template"]


def pods(objects):
    """Return the specs of all pods, the one of `helm test` too, by the name of what makes them."""
    makers = [*workloads(objects), *of_kind(objects, "Pod")]
    return {one["metadata"]["name"]: pod_of(one)["spec"] for one in makers}


def containers(spec):
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.fixture(params=PROFILES, ids=[profile or "default" for profile in PROFILES])
def profile(request):
    return request.param


@pytest.fixture
def objects(profile):
    """The objects of the chart in each profile."""
    return render(profile=profile)
