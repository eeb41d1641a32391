"""Every law catches what breaks it: a violation is planted in a small tree of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig

import pytest
from tests.house import test_laws as house

SERVICES, CLIENT = "services/llmrouter", "clients/python/llmrouter_client"
LONG = "def long():\n" + "    pass\n" * house.MAX_FUNCTION_LINES
PLANTED = [
    (house.domain_modules_that_know_grpc, f"{SERVICES}/gateway/planning.py", text)
    for text in (
        "import grpc",
        "from grpc import aio",
        "from llmrouter import v1",
        "from llmrouter.v1 import cache_pb2",
        "def late():\n    import grpc_status",
    )
]
PLANTED += [
    (house.edge_modules_that_need_not_be, f"{SERVICES}/gateway/upstream.py", "import json"),
    (house.imports_of_the_engine, f"{SERVICES}/inference/service.py", "import llmrouter._native"),
    (house.imports_of_the_engine, f"{CLIENT}/client.py", "from llmrouter import _native"),
    (house.bindings_elsewhere, "native/src/engine.cc", "#include <pybind11/pybind11.h>"),
    (house.bindings_elsewhere, "native/include/llmrouter/slots.h", "namespace pybind11 {}"),
    (house.ort_api_elsewhere, "native/src/kernels/dot.cc", '#include "ort/ort_api.h"'),
    (house.ort_api_elsewhere, "native/bindings/engine.cc", '#include "ort/ort_api.h"'),
    (house.readers_of_the_environment, f"{SERVICES}/cache/tiers.py", "from os import environ"),
    (house.readers_of_the_environment, f"{SERVICES}/cli/chat.py", "import os\nos.getenv('A')"),
    (house.readers_of_the_environment, f"{CLIENT}/sync.py", "import os\nos.environ['A']"),
    (house.long_functions, f"{SERVICES}/cache/tiers.py", LONG),
    (
        house.long_functions,
        f"{CLIENT}/sync.py",
        f"class A:\n    async {LONG.replace('  ', '    ')}",
    ),
    (house.imports_of_the_source_root, f"{SERVICES}/cli/chat.py", "import services.llmrouter"),
    (house.imports_of_the_source_root, f"{CLIENT}/sync.py", "from services import llmrouter"),
    (house.imports_of_the_package, f"{SERVICES}/__init__.py", "from llmrouter import suite"),
    (house.ignores_without_a_reason, f"{SERVICES}/cache/tiers.py", "x = 1  # noqa: S608"),
    (house.ignores_without_a_reason, f"{SERVICES}/cache/tiers.py", "x = 1  # noqa"),
    (house.ignores_without_a_reason, f"{CLIENT}/sync.py", "x = 1  # type: ignore[misc]"),
    (house.ignores_without_a_reason, f"{CLIENT}/sync.py", "x = 1  # type: ignore  # a reason"),
    (house.asserted_clocks, "tests/unit/test_a.py", "assert time.monotonic() - began < 1"),
    (house.asserted_clocks, "tests/unit/test_a.py", "assert loop.time() < began + 2"),
    (house.asserted_clocks, "tests/unit/test_a.py", "assert perf_counter() >= then"),
    (
        house.asserted_clocks,
        "tests/unit/test_a.py",
        "took = time.monotonic() - began\nassert took < 1",
    ),
]
CLEAN = {
    f"{SERVICES}/__init__.py": '"""The suite."""',
    f"{SERVICES}/gateway/planning.py": "import json\nfrom llmrouter.common import errors",
    f"{SERVICES}/gateway/upstream.py": "import grpc",
    f"{SERVICES}/gateway/plan.py": "x = 1  # noqa: S608, E501 - y\ny = 2  # type: ignore[a,b]  # y",
    f"{SERVICES}/inference/backends/base.py": "from llmrouter import _native",
    f"{SERVICES}/common/settings.py": "import os\nos.environ",
    f"{CLIENT}/client.py": LONG.replace("    pass\n", "", 1),
    "native/bindings/module.cc": "#include <pybind11/pybind11.h>",
    "native/src/ort/decoder.cc": '#include "ort/ort_api.h"',
    "tests/unit/test_a.py": "began = time.monotonic()\nassert elapsed_is_counted",
    "tests/benchmarks/peer.py": "assert time.monotonic() < limit",
}


@pytest.fixture
def tree(tmp_path):
    """A tree that keeps every law."""
    for name, text in CLEAN.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.mark.parametrize("law", house.LAWS, ids=lambda law: law.__name__)
def test_a_law_has_nothing_against_a_tree_that_keeps_it(tree, law):
    assert law(tree) == []


@pytest.mark.parametrize(
    ("law", "name", "text"),
    [pytest.param(*one, id=f"{one[0].__name__}: {one[1]}: {one[2][:30]}") for one in PLANTED],
)
def test_a_law_sees_a_planted_violation(tree, law, name, text):
    write(tree / name, text)
    [offender] = law(tree)
    assert offender.startswith(name)


def test_every_law_was_seen_to_catch_something():
    assert {law for law, _, _ in PLANTED} == set(house.LAWS)


def test_stubs_that_are_not_what_the_protos_say_are_seen(tmp_path):
    for name in ("protos", "services/llmrouter/v1"):
        shutil.copytree(house.ROOT / name, tmp_path / name)
    stub = tmp_path / "services/llmrouter/v1/errors_pb2.py"
    stub.write_text(stub.read_text() + "\n")
    proto = tmp_path / "protos/llmrouter/v1/cache.proto"
    proto.write_text(proto.read_text() + "\nmessage Planted {}\n")
    assert house.stale_stubs(tmp_path) == ["cache_pb2.py", "cache_pb2.pyi", "errors_pb2.py"]


IMPORTED = (
    "llmrouter.gateway", "llmrouter.selector", "llmrouter.cache", "llmrouter.inference",
    "llmrouter.common", "llmrouter.common.telemetry.meters", "llmrouter.backup", "llmrouter.cli",
    "llmrouter_client",
)  # fmt: skip
LAYERS = "Services never import each other"
TELEMETRY = "Only common.telemetry knows OpenTelemetry"
CLIENT_ALONE = "The client knows the stubs and nothing else"
LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"


def linted(root):
    """Return the exit code and the words of import-linter over the packages below `root`."""
    # Without site, whose hooks would find the installed packages instead.
    paths = [root / "services", root / "clients/python", sysconfig.get_paths()["purelib"]]
    done = subprocess.run(
        [sys.executable, "-S", "-c", LINT, "--no-cache", "--config", house.ROOT / "pyproject.toml"],
        env={"PYTHONPATH": ":".join(map(str, paths))},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def packages(tmp_path):
    """Every package that a contract speaks of, importing nothing."""
    for name in ("llmrouter", "llmrouter.suite", *IMPORTED):
        write(package(tmp_path, name), '"""Nothing."""')
    return tmp_path


def package(root, name):
    source = "clients/python" if name.startswith("llmrouter_client") else "services"
    return root / source / name.replace(".", "/") / "__init__.py"


def test_import_linter_has_nothing_against_packages_that_import_nothing(packages):
    code, said = linted(packages)
    assert code == 0, said
    assert "3 kept, 0 broken" in said


@pytest.mark.parametrize(
    ("contract", "planted"),
    [
        (LAYERS, {"llmrouter.gateway": "llmrouter.selector"}),
        (LAYERS, {"llmrouter.cache": "llmrouter.inference"}),
        (LAYERS, {"llmrouter.selector": "llmrouter.cli", "llmrouter.cli": "llmrouter.cache"}),
        (LAYERS, {"llmrouter.common": "llmrouter.inference"}),
        (LAYERS, {"llmrouter.common": "llmrouter.suite"}),
        (LAYERS, {"llmrouter.common": "llmrouter.backup"}),
        (LAYERS, {"llmrouter.gateway": "llmrouter.backup"}),
        (LAYERS, {"llmrouter.suite": "llmrouter.cli"}),
        (LAYERS, {"llmrouter.backup": "llmrouter.cli"}),
        (TELEMETRY, {"llmrouter.gateway": "opentelemetry"}),
        (TELEMETRY, {"llmrouter.suite": "prometheus_client"}),
        (TELEMETRY, {"llmrouter.backup": "prometheus_client"}),
        (TELEMETRY, {"llmrouter.common": "opentelemetry"}),
        (CLIENT_ALONE, {"llmrouter_client": "llmrouter.common"}),
        (CLIENT_ALONE, {"llmrouter_client": "llmrouter.suite"}),
        (CLIENT_ALONE, {"llmrouter_client": "llmrouter.backup"}),
    ],
)
def test_import_linter_sees_a_planted_import(packages, contract, planted):
    for importer, imported in planted.items():
        write(package(packages, importer), f"import {imported}")
    code, said = linted(packages)
    assert code == 1, said
    assert "2 kept, 1 broken" in said
    broken = [line for line in said.splitlines() if line.endswith("BROKEN")]
    assert len(broken) == 1
    assert broken[0].startswith(contract)


def test_import_linter_lets_common_telemetry_alone_know_opentelemetry(packages):
    write(package(packages, "llmrouter.common.telemetry.meters"), "import opentelemetry")
    code, said = linted(packages)
    assert code == 0, said


def test_import_linter_sees_a_package_that_no_layer_names(packages):
    write(package(packages, "llmrouter.novel"), '"""Nothing."""')
    code, said = linted(packages)
    assert code == 1
    assert "llmrouter.novel" in said
