"""`doctor` says where settings come from, and gives each thing one remedy that fits."""

import pytest
from tests.support.ports import free_ports
from tests.unit.cli.driving import lines, run

from llmrouter.cli.checks_suite import check_store
from llmrouter.common.settings import SERVICES
from llmrouter.inference.models.store import ModelStore


@pytest.fixture(autouse=True)
def ports(monkeypatch, tmp_path):
    """Ports of this test's own, by variables: five with that of HTTP."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    names = [f"LLMROUTER_{one.upper()}__PORT" for one in SERVICES]
    for name, port in zip((*names, "LLMROUTER_GATEWAY__HTTP_PORT"), free_ports(5), strict=True):
        monkeypatch.setenv(name, str(port))


def configuration(*arguments):
    [report] = lines(run("doctor", "--json", *arguments))
    [found] = [one for one in report["checks"] if one["check"] == "configuration"]
    return found


def test_the_variables_that_count_are_counted(monkeypatch):
    monkeypatch.setenv("LLMROUTER_ADDRESS", "127.0.0.1:1")  # no setting
    assert configuration()["said"] == "the defaults, and 5 LLMROUTER_ variables"


def test_a_file_that_a_variable_names_is_told(monkeypatch, tmp_path):
    file = tmp_path / "here.yaml"
    file.write_text("cache: {memory_max_bytes: 1000}")
    monkeypatch.setenv("LLMROUTER_CONFIG", str(file))
    assert configuration()["said"] == f"{file}, and 5 LLMROUTER_ variables"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("gateway: [", "correct it, or name another file with --config or LLMROUTER_CONFIG"),
        ("cache: {nonsense: 1}", "`llmrouter settings` lists all"),
        ("cache: {memory_max_bytes: many}", "`llmrouter settings` lists all"),
    ],
)
def test_the_remedy_fits_what_is_wrong_with_a_file(tmp_path, text, remedy):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    found = configuration("--config", str(file))
    assert (found["state"], found["remedy"]) == ("failed", remedy)


def test_an_environment_that_is_none_is_told_with_those_there_are(monkeypatch):
    monkeypatch.setenv("LLMROUTER_ENV", "prodution")
    found = configuration()
    assert found["said"].endswith("it must be one of development, staging, production")
    assert found["remedy"] == ""


def test_what_is_wrong_with_a_model_says_once_what_helps(tmp_path):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "genai_config.json").write_text("{")
    [found] = check_store(ModelStore(tmp_path))
    assert (found.state.value, found.remedy) == ("failed", "")
    assert found.said.count("again") <= 1


def test_a_folder_that_is_no_model_is_told(tmp_path):
    (tmp_path / "junk").mkdir()
    found = [one.said for one in check_store(ModelStore(tmp_path)) if "junk" in one.said]
    assert len(found) == 1
    assert "junk is no model folder" in found[0]
