"""What every test shares."""

import itertools
from pathlib import Path

import hypothesis
import pytest
import structlog

import llmrouter.common  # noqa: F401 - before any test loads gRPC: it sets the least version of TLS
from llmrouter.common.settings import data_directory

# No test asserts on time: on a busy machine an example may take as long as it likes.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


_MODELS = data_directory() / "models"


def data_home(path: Path) -> str:
    """Make a data directory with nothing in it but this machine's models; return its XDG base."""
    own = path / "llmrouter"
    own.mkdir(parents=True)
    (own / "models").symlink_to(_MODELS, target_is_directory=True)
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def data_homes(tmp_path_factory):
    """No test sees what another one, or a program of this machine's, keeps from run to run."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", data_home(root / "shared"))
        yield (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_data_home(data_homes, monkeypatch):
    """Give each test a data directory of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", data_home(next(data_homes)))


@pytest.fixture(autouse=True)
def unconfigured_logs():
    """A program under test may configure logging for its whole process: undo it for the next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
