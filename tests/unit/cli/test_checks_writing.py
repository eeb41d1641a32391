"""`doctor` tries to write wherever services keep something."""

import pytest

from llmrouter.cli import checks_writing
from llmrouter.cli.checks_writing import check_writing
from llmrouter.suite import SuiteSettings


@pytest.fixture
def sealed(monkeypatch, tmp_path):
    """A folder that nothing can be written to, even by root."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    made = checks_writing.tempfile.NamedTemporaryFile

    def refuse(**options):
        where = options["dir"]
        if where == folder or folder in where.parents:
            raise OSError(30, "Read-only file system", str(where / "x"))
        return made(**options)

    monkeypatch.setattr(checks_writing.tempfile, "NamedTemporaryFile", refuse)
    return folder


def told(settings, data):
    return [(one.state.value, one.said, one.remedy) for one in check_writing(settings, data)]


def test_a_folder_that_can_be_written_is_well_and_left_as_it_was(tmp_path):
    [(state, said, _)] = told(SuiteSettings(), tmp_path)
    assert (state, list(tmp_path.iterdir())) == ("ok", [])
    assert str(tmp_path) in said


def test_a_data_folder_that_cannot_be_written_has_failed_once(sealed):
    data = sealed / "not" / "there yet"
    [(state, said, remedy)] = told(SuiteSettings(), data)
    assert state == "failed"
    assert said == f"{sealed} cannot be written: Read-only file system"
    assert "XDG_DATA_HOME" in remedy


def test_what_a_setting_leads_to_is_tried_by_itself(sealed, tmp_path):
    settings = SuiteSettings(
        cache={"disk_path": sealed / "answers"}, selector={"state_path": sealed / "state.sqlite"}
    )
    [(state, _, remedy)] = told(settings, tmp_path / "data")
    assert state == "failed"
    assert "let cache.disk_path and selector.state_path lead elsewhere" in remedy


def test_what_lies_below_the_data_folder_is_tried_too(sealed):
    (sealed / "answers").mkdir()
    [first, second] = told(SuiteSettings(), sealed)
    assert (first[0], second[0]) == ("failed", "failed")
    assert str(sealed / "answers") in second[1]
    assert "cache.disk_path" in second[2]


def test_models_can_be_served_from_where_none_can_be_added(sealed, tmp_path):
    [(state, _, remedy)] = told(SuiteSettings(inference={"store": sealed}), tmp_path)
    assert state == "warning"
    assert "inference.store" in remedy


def test_a_cache_that_keeps_nothing_on_disk_needs_no_folder(sealed, tmp_path):
    settings = SuiteSettings(cache={"disk_path": sealed, "disk_max_bytes": 0})
    assert [one[0] for one in told(settings, tmp_path)] == ["ok"]
