"""What must be true of every pod, as functions that return what breaks it."""

from __future__ import annotations

from tests.helm.conftest import configurations, containers, pods, workloads

from llmrouter.common.settings import ConfigError, load_config


def without_probes(objects):
    """Containers of services that lack a probe."""
    return [
        f"{one['metadata']['name']}/{container['name']} has no {probe}"
        for one in workloads(objects)
        for container in one["spec"]["template"]["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if "grpc" not in container.get(probe, {})
    ]


def with_rights(objects):
    """Pods and containers that may do more than compute."""
    return [*_pods_with_rights(objects), *_containers_with_rights(objects)]


def _pods_with_rights(objects):
    for name, spec in pods(objects).items():
        context = spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"{name} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} may make any system call"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name} has a token of the API server"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name} shares its host"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{name} mounts its host"


def _containers_with_rights(objects):
    for name, spec in pods(objects).items():
        for container in containers(spec):
            context = container.get("securityContext", {})
            here = f"{name}/{container['name']}"
            if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
                yield f"{here} may gain rights"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{here} may write its root"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{here} has capabilities"


def unbounded(objects):
    """Containers without a request or a bound on memory."""
    return [
        f"{name}/{container['name']}"
        for name, spec in pods(objects).items()
        for container in containers(spec)
        if not {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {}))
        or "memory" not in container["resources"].get("limits", {})
    ]


def secrets_told(objects, folder):
    """ConfigMaps that the services refuse, for a secret stands in them."""
    found = []
    for one in configurations(objects):
        file = folder / f"{one['metadata']['name']}.yaml"
        file.write_text(one["data"]["llmrouter.yaml"])
        try:
            load_config(file, {})
        except ConfigError as error:
            found.append(str(error))
    return found
