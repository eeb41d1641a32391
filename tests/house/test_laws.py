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
DOMAIN = [
    *(ROOT / "services/llmrouter/common" / name for name in
      ("answer_key.py", "embedding.py", "errors.py", "generation.py", "memory_tier.py",
       "validation.py")),
    *(ROOT / "services/llmrouter/selector" / name for name in
      ("catalog.py", "scoring.py", "selection.py", "statistics.py", "strategies.py")),
    *(ROOT / "services/llmrouter/gateway" / name for name in
      ("accounting.py", "admission.py", "caching.py", "embedding.py", "execution.py", "plan.py",
       "planning.py")),
]  # fmt: skip
MAX_FUNCTION_LINES = 50


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_domain_module_knows_neither_grpc_nor_the_stubs(path):
    forbidden = {
        name for name in imports(path) if name.split(".")[0] == "grpc" or "llmrouter.v1" in name
    }
    assert not forbidden


def test_only_the_backends_import_the_native_extension():
    allowed = ROOT / "services/llmrouter/inference/backends"
    offenders = [
        path
        for path in PRODUCT
        if not path.is_relative_to(allowed)
        and re.search(r"(from llmrouter import .*_native|llmrouter\._native)", path.read_text())
    ]
    assert not offenders


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
    allowed = {"settings.py", "standalone.py"}
    offenders = [
        path
        for path in PRODUCT
        if re.search(r"os\.(environ|getenv)", path.read_text())
        and not (path.parent.name == "common" and path.name in allowed)
    ]
    assert not offenders


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
    offenders = [path for path in PRODUCT if any(n.startswith("services") for n in imports(path))]
    assert not offenders


def test_the_package_itself_imports_nothing():
    assert not imports(ROOT / "services/llmrouter/__init__.py")


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
