import pytest
import yaml
from pydantic import ValidationError

from llmrouter.inference.settings import InferenceSettings


@pytest.mark.parametrize("written", ["off", '"off"', "false"])
def test_speculation_is_off_however_yaml_says_it(written):
    settings = InferenceSettings(**yaml.safe_load(f"speculation: {written}"))
    assert settings.speculation == "off"


def test_speculation_takes_nothing_else():
    with pytest.raises(ValidationError):
        InferenceSettings(**yaml.safe_load("speculation: on"))


def test_thresholds_of_memory_rise():
    with pytest.raises(
        ValidationError, match=r"must rise: memory_warning 0\.9 < memory_critical 0\.85 <"
    ):
        InferenceSettings(memory_warning=0.9)
