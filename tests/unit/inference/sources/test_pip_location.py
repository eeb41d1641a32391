from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.sources.pip_location import locate_wheel

URL = "https://index.example/packages/model-1-py3-none-any.whl"


def answer(monkeypatch: pytest.MonkeyPatch, *, code: int = 0, out: str = "", err: str = "") -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "model==1"
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)


def report(**info: Any) -> str:
    return json.dumps({"version": "1", "install": [{"download_info": {"url": URL} | info}]})


def refusal() -> str:
    with pytest.raises(RouterError) as raised:
        locate_wheel("model==1")
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    return raised.value.message


def test_the_location_comes_from_pips_report(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, out=report(archive_info={"hashes": {"sha256": "abc"}}))
    assert locate_wheel("model==1") == (URL, "abc")
    answer(monkeypatch, out=report())
    assert locate_wheel("model==1") == (URL, None)


def test_pips_own_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, code=1, err="ERROR: No matching distribution found for model==1\n\n")
    assert "No matching distribution found for model==1; check the network" in refusal()


def test_a_full_disk_is_not_told_as_a_fault_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, code=1, err="ERROR: Could not install: [Errno 28] No space left on device")
    said = refusal()
    assert "is full" in said
    assert "network" not in said


def test_a_missing_pip_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, code=1, err="/usr/bin/python: No module named pip")
    assert "ensurepip" in refusal()


@pytest.mark.parametrize(
    "out", ["", "[]", "{}", '{"install": []}', '{"install": [{"download_info": {"url": 7}}]}']
)
def test_an_unreadable_report(monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    answer(monkeypatch, out=out)
    assert "no location" in refusal()


def test_a_pip_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert "did not answer" in refusal()
