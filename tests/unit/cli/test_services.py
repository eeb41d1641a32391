"""The commands that run services, and the settings they take."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.unit.cli.driving import lines, run

from llmrouter.cache.service import build
from llmrouter.common.dialling import Dialler
from llmrouter.suite import RunningSuite, SuiteSettings, load_settings


@pytest.mark.parametrize("name", ["up", "gateway", "selector", "cache", "inference"])
def test_services_run_until_they_are_drained(suite, name):
    result = run(name, "--json")
    assert result.exit_code == 0
    told = [line for line in lines(result) if line["event"] != "ready"]
    assert [line["event"] for line in told] == ["starting", "stopped"]
    assert suite == [(name, None)]


def test_up_tells_where_the_services_listen(suite):
    [ready] = [line for line in lines(run("up", "--json")) if line["event"] == "ready"]
    assert ready["addresses"]["gateway"] == "127.0.0.1:1"
    assert "gateway 127.0.0.1:1" in run("up").stderr


def test_up_tells_when_no_model_is_ready(suite, monkeypatch):
    async def run_up(config, ready):
        ready(RunningSuite("g", "s", "c", "i", serving=False))

    monkeypatch.setattr("llmrouter.suite.run_up", run_up)
    assert "no model is ready" in run("up").stderr
    [ready] = [line for line in lines(run("up", "--json")) if line["event"] == "ready"]
    assert ready["serving"] is False


def test_settings_are_a_file_that_can_be_used(tmp_path):
    shown = run("settings")
    file = tmp_path / "llmrouter.yaml"
    file.write_text(shown.stdout)
    assert load_settings(file) == SuiteSettings()
    port = (
        "  # Port to listen on; 0 takes a free one. (at least 0, at most 65,535)\n  port: 50052\n"
    )
    assert port in shown.stdout
    assert "(more than 0, at most 86,400)" in shown.stdout
    assert "(at least 0, at most 1,000,000)" in shown.stdout
    assert "    # Weight of the quality. " in shown.stdout
    assert "  #   name: Model name.\n" in shown.stdout
    only = run("settings", "cache").stdout
    assert yaml.safe_load(only)["cache"]["port"] == 50053
    assert "  #   tls: Whether to speak TLS.\n" in only
    assert "gateway:" not in only


async def test_the_file_of_settings_leaves_answers_where_they_are_without_one(tmp_path):
    file = tmp_path / "llmrouter.yaml"
    file.write_text(run("settings").stdout)
    service = await build(load_settings(file).cache, Dialler(), tmp_path)
    await service.close()
    assert (tmp_path / "answers").is_dir()


@pytest.mark.parametrize("section", [(), ("cache",)])
def test_settings_for_machines_are_a_json_schema(section):
    (schema,) = lines(run("settings", *section, "--json"))
    for part in (schema, *schema["$defs"].values()):
        assert all(
            "\n" not in one.get("description", "") for one in part.get("properties", {}).values()
        )
    jsonschema.Draft202012Validator.check_schema(schema)
    wrong = {"port": "x"} if section else {"cache": {"port": "x"}}
    with pytest.raises(jsonschema.ValidationError, match="'x' is not"):
        jsonschema.validate(wrong, schema)


def test_the_default_number_of_tokens_is_told_where_it_is_asked_for():
    default = SuiteSettings().inference.max_tokens
    proto = Path(__file__).parents[3] / "protos/llmrouter/v1/generation.proto"
    assert f"default {default:,} unless" in proto.read_text()
    for command in ("generate", "chat"):
        assert f"settings, {default}." in " ".join(run(command, "--help").stdout.split())


def test_a_wrong_configuration_is_one_sentence(suite, tmp_path):
    file = tmp_path / "llmrouter.yaml"
    file.touch()
    result = run("cache", "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"error: {file} cannot be read: no such file"
    assert suite == [("cache", file)]
