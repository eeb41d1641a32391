from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.ort_library import find_library


def install(monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


def test_finds_the_library_of_the_installed_wheel() -> None:
    library = find_library()
    assert library.is_file()
    assert library.name.startswith("libonnxruntime.so.")


def test_finding_does_not_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime.so.1.99.0").touch()
    install(monkeypatch, ModuleSpec("onnxruntime", None, origin=str(tmp_path / "__init__.py")))
    assert find_library() == tmp_path / "capi" / "libonnxruntime.so.1.99.0"
    assert "onnxruntime" not in sys.modules


@pytest.mark.parametrize("broken", [False, True])
def test_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: bool
) -> None:
    origin = str(tmp_path / "__init__.py")
    install(monkeypatch, ModuleSpec("onnxruntime", None, origin=origin) if broken else None)
    with pytest.raises(RouterError, match=r"pip install 'llmrouter\[cpu\]'") as raised:
        find_library()
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
