from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.errors import RouterError
from llmrouter.inference.models import alias_file
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.versions import (
    LATEST,
    STABLE,
    Version,
    VersionKey,
    aliases_of,
    check_alias,
    find_version,
    is_key,
    key_of,
    parse_key,
    with_precision,
)

OLD = Version(VersionKey("m"), "aaaaaaaaaaaa", 1.0)
NEW = Version(VersionKey("m", "v2"), "bbbbbbbbbbbb", 2.0)
NEWEST = Version(VersionKey("m", "v3"), "cccccccccccc", 3.0)
ALL = (OLD, NEW, NEWEST)


def test_a_folder_is_a_model_or_a_labelled_version_of_it():
    assert parse_key("a.b-c_1") == VersionKey("a.b-c_1")
    assert parse_key("a@v1.2") == VersionKey("a", "v1.2")
    assert str(parse_key("a@v1.2")) == "a@v1.2"


@pytest.mark.parametrize(
    "wrong", ["", "A", "a/b", "a..b", "a@", "a@B", "a@b@c", "@b", "a@stable", "a@latest", "a" * 129]
)
def test_what_cannot_be_a_folder_is_refused(wrong):
    assert not is_key(wrong)
    with pytest.raises(RouterError, match="must be 1 to"):
        parse_key(wrong)


@given(st.text())
def test_any_folder_that_is_there_is_some_version(name):
    assert str(key_of(name)) in (name, name.removesuffix("@"))


def test_a_precision_stands_before_the_label():
    assert with_precision("a", "int8") == "a-int8"
    assert with_precision("a@v2", "int8") == "a-int8@v2"


def test_unmoved_the_latest_is_the_last_installed_and_stable_the_one_without_a_label():
    assert aliases_of(ALL, {}) == {LATEST: NEWEST.key, STABLE: OLD.key}
    assert aliases_of((NEWEST, NEW), {}) == {LATEST: NEWEST.key, STABLE: NEWEST.key}
    assert aliases_of((), {"stable": "v2"}) == {}


def test_aliases_move_and_one_whose_version_is_gone_falls_back():
    moved = {"stable": "v2", "canary": "v3"}
    assert aliases_of(ALL, moved) == {LATEST: NEWEST.key, STABLE: NEW.key, "canary": NEWEST.key}
    assert aliases_of((OLD,), moved) == {LATEST: OLD.key, STABLE: OLD.key}


def test_an_alias_that_is_a_label_by_now_points_nowhere_else():
    moved = {"v3": "v2", "canary": "v2"}
    assert aliases_of(ALL, moved) == {LATEST: NEWEST.key, STABLE: OLD.key, "canary": NEW.key}
    assert find_version(ALL, aliases_of(ALL, moved), "v3") == NEWEST.key


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("", OLD), ("v2", NEW), ("latest", NEWEST), ("bbbbbbbbbbbb", NEW), ("stable", OLD)],
)
def test_a_version_is_found_by_label_alias_and_fingerprint(wanted, found):
    assert find_version(ALL, aliases_of(ALL, {}), wanted) == found.key


def test_an_unknown_version_is_none_and_an_unread_fingerprint_matches_nothing():
    unread = Version(VersionKey("m", "v4"), "", 4.0)
    assert find_version((*ALL, unread), aliases_of(ALL, {}), "dddd") is None


@pytest.mark.parametrize("alias", ["v2", "aaaaaaaaaaaa", "Upper", "a/b", ""])
def test_an_alias_may_not_be_a_version_itself(alias):
    with pytest.raises(RouterError, match="aliases"):
        check_alias(alias, ALL)


def test_moved_aliases_outlive_the_process(tmp_path: Path):
    assert AliasFile(tmp_path).read() == {}
    AliasFile(tmp_path).move(VersionKey("m", "v2"), ["stable"])
    AliasFile(tmp_path).move(VersionKey("m", ""), ["old"])
    assert AliasFile(tmp_path).read() == {"m": {"stable": "v2", "old": ""}}
    (tmp_path / ".aliases.json").write_text('{"m": {"stable": 7}}')
    with pytest.raises(RouterError, match=r"m\.stable is 7"):
        AliasFile(tmp_path).read()


def test_a_new_version_takes_over_no_alias(tmp_path: Path):
    aliases = AliasFile(tmp_path)
    aliases.move(VersionKey("m", "v2"), ["canary"])
    taken = VersionKey("m", "canary")
    aliases.check_label(taken)  # where it points is no version
    (tmp_path / "m@v2").mkdir()
    with pytest.raises(RouterError, match=r"points to m@v2; .*load m@LABEL --alias canary"):
        aliases.check_label(taken)
    for free in (VersionKey("m"), VersionKey("m", "v3"), VersionKey("n", "canary")):
        aliases.check_label(free)
    (tmp_path / "m@canary").mkdir()
    aliases.check_label(taken)  # nor is it new


def test_a_move_waits_for_others_of_the_store_and_not_for_good(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(alias_file, "_LOCK_SECONDS", 0.05)
    with (tmp_path / ".aliases.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RouterError, match="no alias has moved") as refused:
            AliasFile(tmp_path).move(VersionKey("m", "v2"), ["stable"])
    assert refused.value.retry_after == 1.0
    assert AliasFile(tmp_path).move(VersionKey("m", "v2"), ["stable"]) == {"m": {"stable": "v2"}}
    assert sorted(file.name for file in tmp_path.iterdir()) == [".aliases.json", ".aliases.lock"]
