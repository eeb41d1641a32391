"""The laws of ARCHITECTURE.md that import-linter cannot say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted(
    path
    for source in ("services/llmrouter", "clients/python/llmrouter_client")
    for path in (ROOT / source).rglob("*.py")
    if "/v1/" not in str(path)
)
SERVICES = ROOT / "services/llmrouter"
EDGE = {
    SERVICES / name for name in (
        "cache/service.py", "cache/servicer.py", "cli/breakers.py", "cli/calling.py",
        "cli/decisions.py", "cli/loading.py", "cli/rollout.py", "cli/select.py", "cli/stats.py",
        "common/dialling.py", "common/guard.py", "common/inprocess.py", "common/server.py",
        "common/telemetry/exporting.py",
        "common/wire.py", "common/wire_embedding.py", "common/wire_errors.py",
        "common/wire_event.py", "common/wire_request.py", "common/wire_routing.py",
        "gateway/clients.py", "gateway/messages.py", "gateway/service.py", "gateway/servicer.py",
        "gateway/upstream.py",
        "inference/model_servicer.py", "inference/service.py", "inference/servicer.py",
        "inference/wire_models.py",
        "selector/encoding.py", "selector/endpoints.py", "selector/messages.py",
        "selector/placing.py", "selector/rollout_messages.py",
        "selector/service.py", "selector/servicer.py", "selector/wire_placement.py",
    )
}  # fmt: skip
"""The modules that may know gRPC; every other one of the services is a domain module."""
DOMAIN = [path for path in PRODUCT if path.is_relative_to(SERVICES) and path not in EDGE]
ENVIRONMENT_READERS = {SERVICES / "common/settings.py", SERVICES / "common/standalone.py"}
MAX_FUNCTION_LINES = 50


def imports(source: str) -> set[str]:
    """Every module and every name of a module that `source` imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def knows_grpc(source: str) -> bool:
    return any(
        name.split(".")[0].startswith("grpc") or re.match(r"llmrouter\.v1(\.|$)", name)
        for name in imports(source)
    )


def knows_the_engine(source: str) -> bool:
    return "llmrouter._native" in imports(source)


def reads_the_environment(source: str) -> bool:
    return bool({"os.environ", "os.getenv", "os.environb"} & imports(source)) or bool(
        re.search(r"\bos\.(environb?|getenv)", source)
    )


@pytest.mark.parametrize(
    ("law", "planted"),
    [
        (knows_grpc, "import grpc"),
        (knows_grpc, "from grpc import aio"),
        (knows_grpc, "from llmrouter import v1"),
        (knows_grpc, "from llmrouter.v1 import cache_pb2"),
        (knows_grpc, "def late():\n    import grpc_status"),
        (knows_the_engine, "from llmrouter import _native"),
        (knows_the_engine, "import llmrouter._native"),
        (reads_the_environment, "import os\nos.environ['A']"),
        (reads_the_environment, "from os import environ"),
        (reads_the_environment, "import os\nos.getenv('A')"),
    ],
)
def test_a_law_sees_a_planted_violation(law, planted):
    assert law(planted)
    assert not law("import json\nfrom llmrouter.common import errors")


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_domain_module_knows_neither_grpc_nor_the_stubs(path):
    assert not knows_grpc(path.read_text())


def test_every_edge_module_needs_to_be_one():
    assert not [path for path in EDGE if not knows_grpc(path.read_text())]


def test_only_the_backends_import_the_native_extension():
    allowed = SERVICES / "inference/backends"
    offenders = [path for path in PRODUCT if knows_the_engine(path.read_text())]
    assert offenders
    assert all(path.is_relative_to(allowed) for path in offenders)


def test_only_the_bindings_include_pybind11():
    offenders = [
        path
        for path in (ROOT / "native").rglob("*.[hc]*")
        if "bindings" not in path.parts and "pybind11" in path.read_text()
    ]
    assert not offenders


def test_only_the_ort_folder_includes_its_api():
    offenders = [
        path
        for path in (ROOT / "native").rglob("*.[hc]*")
        if "ort" not in path.parts and '"ort/ort_api.h"' in path.read_text()
    ]
    assert not offenders


def test_the_environment_is_read_in_common_settings_and_at_the_start_of_programs_only():
    readers = {path for path in PRODUCT if reads_the_environment(path.read_text())}
    assert readers == ENVIRONMENT_READERS


def test_no_function_is_longer_than_fifty_lines():
    long = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.name}:{node.name} has {lines} lines")
    assert not long


def test_nothing_imports_the_source_root_as_a_package():
    offenders = [
        path for path in PRODUCT if any(n.startswith("services") for n in imports(path.read_text()))
    ]
    assert not offenders


def test_the_package_itself_imports_nothing():
    assert not imports((SERVICES / "__init__.py").read_text())


def test_the_committed_stubs_equal_regenerated_ones(tmp_path):
    protos = sorted((ROOT / "protos/llmrouter/v1").glob("*.proto"))
    scripts = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}",
            f"--mypy_out=quiet:{tmp_path}", f"--mypy_grpc_out=quiet:{tmp_path}",
            *map(str, protos),
        ],
        check=True,
    )  # fmt: skip
    committed = ROOT / "services/llmrouter/v1"
    for made in sorted((tmp_path / "llmrouter/v1").iterdir()):
        assert (committed / made.name).read_text() == made.read_text(), made.name
