from __future__ import annotations

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.settings import ConfigError, parse
from llmrouter.inference.backends.devices import choose_gpu
from llmrouter.inference.settings import InferenceSettings

CPU, BOTH = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("device", "providers", "gpu"),
    [
        ("auto", CPU, None),
        ("auto", BOTH, 0),
        ("cpu", BOTH, None),
        ("cuda", BOTH, 0),
        ("cuda:2", BOTH, 2),
        ("cuda", CPU, 0),
    ],
)
def test_the_choice(device: str, providers: list[str], gpu: int | None) -> None:
    assert choose_gpu(device, providers) == gpu


@pytest.mark.parametrize("device", ["cuda:0,cuda:1", "cuda+cpu"])
def test_sharding_over_devices_is_refused_by_name(device: str) -> None:
    with pytest.raises(RouterError, match="not sharded over devices") as raised:
        choose_gpu(device, BOTH)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    for told in (device, device.split(",")):
        with pytest.raises(ConfigError, match=r"inference\.device.*not sharded over devices"):
            parse(InferenceSettings, {"device": told}, "inference")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:123", "", "cpu:0"])
def test_other_names_are_refused(device: str) -> None:
    with pytest.raises(RouterError, match="must be auto, cpu, cuda") as raised:
        choose_gpu(device, BOTH)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
