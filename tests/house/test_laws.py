"""The laws of ARCHITECTURE.md that import-linter cannot say.

A law takes the root of a tree and returns what breaks it there, the path first.
"""

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.rpc import status_pb2

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("services/llmrouter", "clients/python/llmrouter_client")
SERVICES = Path("services/llmrouter")
EDGE = {
    SERVICES / name for name in (
        "cache/messages.py", "cache/semantic/messages.py", "cache/service.py", "cache/servicer.py",
        "cli/breakers.py", "cli/calling.py", "cli/decisions.py", "cli/health.py",
        "cli/checks_suite.py", "cli/invalidate.py", "cli/loading.py",
        "cli/overview_tables.py", "cli/profile.py", "cli/removing.py", "cli/rollout.py",
        "cli/select.py", "cli/stats.py",
        "common/ageing.py", "common/credentials.py",
        "common/dialling.py", "common/guard.py", "common/inprocess.py", "common/overview.py",
        "common/packing.py", "common/profile_servicer.py", "common/renewing.py",
        "common/server.py",
        "common/telemetry/exporting.py",
        "common/wire.py", "common/wire_cache.py", "common/wire_continuation.py",
        "common/wire_embedding.py", "common/wire_errors.py", "common/wire_event.py",
        "common/wire_features.py",
        "common/wire_rating.py", "common/wire_request.py", "common/wire_routing.py",
        "common/wire_tools.py",
        "gateway/cache_client.py", "gateway/cache_messages.py", "gateway/conversation_messages.py",
        "gateway/clients.py", "gateway/live/frame.py", "gateway/live/live_page.py",
        "gateway/messages.py", "gateway/profiling.py", "gateway/service.py", "gateway/servicer.py",
        "gateway/upstream.py",
        "inference/load_reports.py", "inference/model_servicer.py", "inference/service.py",
        "inference/servicer.py",
        "inference/wire_models.py", "inference/wire_speed.py",
        "selector/encoding.py", "selector/endpoints.py", "selector/load_reports.py",
        "selector/messages.py",
        "selector/placing.py", "selector/rollout_messages.py",
        "selector/service.py", "selector/servicer.py", "selector/wire_placement.py",
    )
}  # fmt: skip
"""The modules that may know gRPC; every other one of the services is a domain module."""
ENVIRONMENT_READERS = {SERVICES / "common/settings.py", SERVICES / "common/standalone.py"}
MAX_FUNCTION_LINES = 50
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time"}

_UNREASONED = re.compile(
    r"# noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S)|# type: ignore(?!\[[\w,-]+\]  # \S)"
)


def product(root: Path) -> Iterator[tuple[Path, str]]:
    """Every module of ours below `root` but the stubs: its path from there, and its source."""
    for source in SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            if path.parent.name != "v1":
                yield path.relative_to(root), path.read_text()


def native(root: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted((root / "native").rglob("*.[hc]*")):
        yield path.relative_to(root), path.read_text()


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


def reads_the_environment(source: str) -> bool:
    return bool({"os.environ", "os.getenv", "os.environb"} & imports(source)) or bool(
        re.search(r"\bos\.(environb?|getenv)", source)
    )


def domain_modules_that_know_grpc(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in product(root)
        if path.is_relative_to(SERVICES) and path not in EDGE and knows_grpc(source)
    ]


def edge_modules_that_need_not_be(root: Path) -> list[str]:
    return [str(path) for path, source in product(root) if path in EDGE and not knows_grpc(source)]


def imports_of_the_engine(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in product(root)
        if not path.is_relative_to(SERVICES / "inference/backends")
        and "llmrouter._native" in imports(source)
    ]


def bindings_elsewhere(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in native(root)
        if "bindings" not in path.parts and "pybind11" in source
    ]


def ort_api_elsewhere(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in native(root)
        if "ort" not in path.parts and '"ort/ort_api.h"' in source
    ]


def readers_of_the_environment(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in product(root)
        if path not in ENVIRONMENT_READERS and reads_the_environment(source)
    ]


def long_functions(root: Path) -> list[str]:
    return [
        f"{path}:{node.name} has {lines} lines"
        for path, source in product(root)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def imports_of_the_source_root(root: Path) -> list[str]:
    return [
        str(path)
        for path, source in product(root)
        if any(name.split(".")[0] == "services" for name in imports(source))
    ]


def imports_of_the_package(root: Path) -> list[str]:
    package = SERVICES / "__init__.py"
    return [str(package)] if imports((root / package).read_text()) else []


def asserted_clocks(root: Path) -> list[str]:
    """Where a test judges by how long something took; benchmarks may."""
    return [
        f"{path.relative_to(root)}:{line}"
        for path in sorted((root / "tests").rglob("*.py"))
        if "benchmarks" not in path.parts
        for line in _judged_by_a_clock(ast.parse(path.read_text()))
    ]


def _judged_by_a_clock(tree: ast.Module) -> list[int]:
    """Return the lines of assertions that read a clock, or a span that was read off one."""
    nodes = list(ast.walk(tree))
    spans = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp)
        if any(map(_reads_a_clock, ast.walk(node.value)))
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.op, ast.Sub)
    }
    return [
        node.lineno
        for node in nodes
        if isinstance(node, ast.Assert)
        for part in [list(ast.walk(node))]
        if any(map(_reads_a_clock, part))
        or any(isinstance(one, ast.Name) and one.id in spans for one in part)
    ]


def _reads_a_clock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in CLOCKS


def ignores_without_a_reason(root: Path) -> list[str]:
    """`# noqa: S608 - why` and `# type: ignore[misc]  # why` say why; bare ones do not."""
    return [
        f"{path}:{number}"
        for path, source in product(root)
        for number, line in enumerate(source.splitlines(), start=1)
        if _UNREASONED.search(line)
    ]


LAWS: list[Callable[[Path], list[str]]] = [
    domain_modules_that_know_grpc,
    edge_modules_that_need_not_be,
    imports_of_the_engine,
    bindings_elsewhere,
    ort_api_elsewhere,
    readers_of_the_environment,
    long_functions,
    imports_of_the_source_root,
    imports_of_the_package,
    asserted_clocks,
    ignores_without_a_reason,
]


def stale_stubs(root: Path) -> list[str]:
    """Return the names of committed stubs that are not what the protos give."""
    protos = sorted((root / "protos/llmrouter/v1").glob("*.proto"))
    scripts = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as made:
        subprocess.run(
            [
                sys.executable, "-m", "grpc_tools.protoc", f"-I{root / 'protos'}",
                f"-I{Path(status_pb2.__file__).parents[2]}",
                f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
                f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
                f"--python_out={made}", f"--grpc_python_out={made}",
                f"--mypy_out=quiet:{made}", f"--mypy_grpc_out=quiet:{made}",
                *map(str, protos),
            ],
            check=True,
        )  # fmt: skip
        committed = root / "services/llmrouter/v1"
        return [
            path.name
            for path in sorted(Path(made, "llmrouter/v1").iterdir())
            if (committed / path.name).read_text() != path.read_text()
        ]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_law_is_kept(law):
    assert law(ROOT) == []


def test_the_laws_look_at_the_product():
    assert {path for path, _ in product(ROOT)} >= EDGE | ENVIRONMENT_READERS
    assert len(list(native(ROOT))) > 50


def test_the_committed_stubs_equal_regenerated_ones():
    assert stale_stubs(ROOT) == []
