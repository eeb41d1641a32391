"""The images as far as they can be tried without an engine: what they are told, see and run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.image.dockerfile import ROOT, build_context, environment, lineage

IMAGES = ("cpu", "cuda")
CONTEXT_BYTES = 4 << 20


def values(image, keyword):
    return [value for stage in lineage(image) for value in stage.of(keyword)]


def test_the_linter_of_dockerfiles_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    said = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_in_particular(image):
    assert values(image, "USER")[-1] == "65532:65532"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_the_environment_and_no_compiler(image):
    copied = values(image, "COPY")
    assert copied == [f"--from=environment-{image} /opt/llmrouter /opt/llmrouter"]
    ran = " ".join(values(image, "RUN"))
    assert "apt-get" not in ran
    assert "pip uninstall --yes pip" in ran


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_asks_after_its_own_health_and_tells_what_it_is(image):
    assert 'CMD ["llmrouter", "health"]' in values(image, "HEALTHCHECK")[-1]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in values(image, "LABEL")[-1]


@pytest.mark.parametrize("image", IMAGES)
def test_every_service_listens_outside_its_container(image):
    told = environment(image)
    for service in ("GATEWAY", "SELECTOR", "CACHE", "INFERENCE"):
        assert told[f"LLMROUTER_{service}__HOST"] == "0.0.0.0"  # noqa: S104


def test_a_build_sees_the_sources_of_the_wheel_and_nothing_else():
    seen = build_context()
    assert {"pyproject.toml", "CMakeLists.txt", "services/llmrouter/py.typed"} <= set(seen)
    tops = {name.split("/")[0] for name in seen}
    assert tops == {
        "CMakeLists.txt", "LICENSE", "README.md", "clients", "native", "pyproject.toml", "services"
    }  # fmt: skip
    assert not [name for name in seen if "__pycache__" in name or name.endswith((".pyc", ".so"))]
    assert not [name for name in seen if name.startswith("clients/go")]
    assert sum((ROOT / name).stat().st_size for name in seen) < CONTEXT_BYTES


def test_what_a_stage_copies_is_in_the_build():
    seen = build_context()
    for sources in lineage("wheel")[0].of("COPY"):
        for source in sources.split()[:-1]:
            name = source.removeprefix("./")
            assert any(one == name or one.startswith(f"{name}/") for one in seen), source
