"""An archive is read back as it was written, or refused."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrouter.backup.archive import BackupError, read_archive, write_archive

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONTENT = {"keys": b"k" * 700, "ledger": bytes(range(256)) * 9, "aliases": b""}


def ignore(*_):
    pass


def written(folder, content=CONTENT, name="b.tar"):
    snapshots = []
    for part, data in content.items():
        (folder / part).write_bytes(data)
        snapshots.append((part, folder / part))
    target = folder / name
    write_archive(target, snapshots, ignore)
    return target


class Kept(io.BytesIO):
    """Remembers what was written once it is closed."""

    def close(self):
        if not self.closed:
            self.content = self.getvalue()
        super().close()


def read(path):
    kept = {}

    def keep(name):
        kept[name] = Kept()
        return kept[name]

    manifest = read_archive(path, ignore, keep)
    return manifest, {name: one.content for name, one in kept.items()}


def test_what_was_written_is_read(tmp_path):
    path = written(tmp_path)
    manifest, content = read(path)
    assert content == CONTENT
    assert [one.name for one in manifest.parts] == list(CONTENT)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.tar"]
    assert path.stat().st_mode & 0o777 == 0o600


@settings(SHARED, max_examples=60)
@given(st.data())
def test_a_changed_byte_is_noticed_or_harmless(tmp_path, data):
    path = written(tmp_path)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        _, content = read(path)
    except BackupError:
        return
    assert content == CONTENT


@settings(SHARED, max_examples=40)
@given(st.data())
def test_one_that_is_cut_off_within_its_parts_is_refused(tmp_path, data):
    path = written(tmp_path)
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    path.write_bytes(whole[: data.draw(st.integers(0, last.offset))])
    with pytest.raises(BackupError):
        read(path)


def forged(path, manifest, *members):
    """Write a tar with this manifest and these members, `(TarInfo, bytes)` each."""
    with tarfile.open(path, "w") as archive:
        head = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        first = tarfile.TarInfo("manifest.json")
        first.size = len(head)
        archive.addfile(first, io.BytesIO(head))
        for one, content in members:
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return path


def manifest_of(*parts, **values):
    told = [{"name": name, "bytes": 0, "sha256": EMPTY} for name in parts]
    made = {"format": "llmrouter-backup", "version": 1, "created": "", "llmrouter": ""}
    return {**made, "parts": told, **values}  # fmt: skip


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("manifest", "members", "why"),
    [
        (manifest_of("keys"), [], "cut off before the part 'keys'"),
        (manifest_of("keys"), [tarfile.TarInfo("../../etc/passwd")], "holds '../../etc/passwd'"),
        (manifest_of("keys"), [tarfile.TarInfo("/parts/keys")], "in place of 'keys'"),
        (manifest_of("../keys"), [tarfile.TarInfo("parts/../keys")], "'../keys', which is no part"),
        (manifest_of(), [tarfile.TarInfo("parts/keys")], "of which its manifest says nothing"),
        (manifest_of("keys", "keys"), [], "names a part twice"),
        (manifest_of(version=2), [], "version 2; this llmrouter reads version 1"),
        (manifest_of(format="tar"), [], "no backup of llmrouter"),
        (manifest_of(parts=[{"name": "keys", "bytes": -1, "sha256": ""}]), [], "damaged"),
        (manifest_of(parts=7), [], "damaged"),
        (b"[]", [], "damaged"),
        (b"[" * 100_000, [], "damaged"),
        (b" " * (1 << 20) + b"{}", [], "no backup of llmrouter"),
    ],
)  # fmt: skip
def test_an_archive_that_says_what_cannot_be_is_refused(tmp_path, manifest, members, why):
    path = forged(tmp_path / "b.tar", manifest, *((one, b"") for one in members))
    with pytest.raises(BackupError, match=why.replace(".", r"\.")):
        read(path)


def test_a_link_in_the_place_of_a_part_is_refused(tmp_path):
    link = tarfile.TarInfo("parts/keys")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = forged(tmp_path / "b.tar", manifest_of("keys"), (link, b""))
    with pytest.raises(BackupError, match="in place of 'keys'"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 2048])
def test_what_is_no_archive_of_ours_is_refused(tmp_path, content):
    path = tmp_path / "b.tar"
    path.write_bytes(content)
    with pytest.raises(BackupError, match="is no backup of llmrouter"):
        read(path)


def test_a_disk_that_fills_leaves_the_archive_of_before(tmp_path, monkeypatch):
    path = written(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, {"keys": b"other"})
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.tar"]
