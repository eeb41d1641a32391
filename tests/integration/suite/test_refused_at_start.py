"""What settings name and is not there is refused before anything starts, with the remedy."""

import re

import pytest
import yaml
from structlog.testing import capture_logs

from llmrouter import suite
from llmrouter.common.settings import ConfigError


@pytest.mark.parametrize(
    ("section", "setting", "value", "told"),
    [
        ("inference", "store", "/nonexistent", "inference.store: /nonexistent is not a folder; "),
        (
            "cache",
            "disk_path",
            "/dev/null/x",
            "/dev/null/x failed: Not a directory; set ",
        ),
        (
            "selector",
            "default_strategy",
            "luck",
            "selector.default_strategy: no strategy is named 'luck'; known: balanced, cascade",
        ),
    ],
)
async def test_a_setting_that_names_what_is_not_there_is_told_with_its_remedy(
    config, section, setting, value, told
):
    path, _ = config
    settings = yaml.safe_load(path.read_text())
    settings[section][setting] = value
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        async with suite.running(path):
            pass
    assert str(refused.value).count(value) <= 2
    assert "Errno" not in str(refused.value)


async def test_the_default_store_need_not_be_there_yet(config, tmp_path, monkeypatch):
    path, _ = config
    settings = yaml.safe_load(path.read_text())
    del settings["inference"]["store"]
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    async with suite.running(path) as running:
        assert not running.serving


async def test_a_folder_of_the_store_that_is_no_model_is_told_at_the_start(config, tmp_path):
    (tmp_path / "store" / "half").mkdir(parents=True)
    with capture_logs() as logs:
        async with suite.running(config[0], store=tmp_path / "store") as running:
            assert not running.serving
    [told] = [log for log in logs if log.get("folder") == "half"]
    assert told["log_level"] == "warning"
    assert "it has no genai_config.json" in told["why"]
