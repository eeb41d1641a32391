"""The very commands of the stages, run in clean folders; the result on a read-only root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.integration.engine.tiny_model import write_tiny_folder
from tests.integration.image.dockerfile import ROOT, build_context, environment, lineage
from tests.support.ports import free_ports

MAX_ENVIRONMENT_BYTES = 800 << 20
_MOVED = re.compile(r"(?<![\w.])/(src|wheels|opt/llmrouter|opt/sbom)\b")
_SERVICES = ("gateway", "selector", "cache", "inference")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def interpreter():
    """Return a Python that a user without rights may run, if the machine has one."""
    system = Path("/usr/bin/python3")
    told = [system, "-c", "import sys, pip, venv; sys.exit(sys.version_info < (3, 11))"]
    known = system.exists() and subprocess.run(told, check=False, capture_output=True)
    return system if known and known.returncode == 0 else Path(sys.executable).resolve()


def run_stage(stage, root, python):
    """Do what a stage says below `root`: its copies from the build's context, its commands."""
    for keyword, value in stage.instructions:
        if keyword == "COPY":
            *sources, target = value.split()
            copy(sources, root / "src" / target)
        elif keyword == "RUN" and not value.startswith("apt-get"):
            moved = _MOVED.sub(rf"{root}/\1", value)
            command = re.sub(r"(?<![\w/-])python(?= )", str(python), moved)
            subprocess.run(["sh", "-ec", command], cwd=root / "src", check=True, timeout=1200)


def copy(sources, target):
    for source in sources:
        name = source.removeprefix("./")
        for file in build_context():
            if file == name:
                place = target / Path(file).name
            elif file.startswith(f"{name}/"):
                place = target / Path(file).relative_to(name)
            else:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, place)


@pytest.fixture(scope="module")
def built():
    """The folder that stands for the root of an image, with its environment in /opt/llmrouter."""
    root = Path(tempfile.mkdtemp(prefix="llmrouter-image-"))
    root.chmod(0o755)
    (root / "src").mkdir()
    try:
        for stage in lineage("environment-cpu"):
            run_stage(stage, root, interpreter())
        yield root
    finally:
        shutil.rmtree(root)


def test_the_environment_is_whole_bounded_and_listed(built):
    made = built / "opt/llmrouter"
    files = [path for path in made.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < MAX_ENVIRONMENT_BYTES
    names = {path.name for path in made.rglob("site-packages/*")}
    assert {"llmrouter", "llmrouter_client", "onnxruntime", "ctranslate2"} <= names
    assert not names & {"setuptools", "pytest", "tests", "services", "mypy"}
    assert not list(made.glob("lib/*/site-packages/llmrouter/**/*.cc"))
    said = subprocess.run(
        [made / "bin/llmrouter", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("llmrouter ")


def test_the_list_of_contents_names_every_package(built):
    told = json.loads((built / "opt/llmrouter/sbom.cdx.json").read_text())
    listed = {part["name"].lower().replace("_", "-") for part in told["components"]}
    there = {
        path.name.split("-")[0].lower().replace("_", "-")
        for path in (built / "opt/llmrouter").rglob("site-packages/*.dist-info")
    }
    assert {"llmrouter", "grpcio", "onnxruntime"} <= listed
    assert there <= listed


@pytest.fixture
def confined(built):
    """Return the start of a command as the image's user on a read-only root, but for the data."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace, in which a root is read-only")
    if interpreter() != Path("/usr/bin/python3"):
        pytest.skip("no Python here that a user without rights may run")
    script = (
        "mount --make-rprivate / && mount --bind $0 $0 && mount -o remount,bind,ro / "
        "&& mount -t tmpfs none /mnt && chmod 1777 /mnt "
        '&& exec setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs "$@"'
    )
    data = built / "data"  # stands for the volume, as /mnt does for a /tmp in memory
    data.mkdir(exist_ok=True)
    os.chown(data, 65532, 65532)
    return ["unshare", "--mount", "sh", "-ec", script, data]


@pytest.fixture
def told(built):
    """Return the variables of a container, on free ports."""
    ports = dict(zip(_SERVICES, free_ports(4), strict=True))
    network = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
    return (
        network
        | environment("cpu")
        | {
            "PATH": f"{built}/opt/llmrouter/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_DATA_HOME": str(built / "data"),
            "TMPDIR": "/mnt",
            "HOME": "/mnt",
            **{f"LLMROUTER_{name.upper()}__PORT": str(port) for name, port in ports.items()},
        }
    )


def test_the_suite_serves_on_a_read_only_root_as_its_user(built, confined, told, tmp_path):
    write_tiny(built / "data/llmrouter/models")
    log = tmp_path / "log"
    program = f"{built}/opt/llmrouter/bin/llmrouter"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*confined, program, "up"], env=told, stdout=output, stderr=output, cwd="/"
        )
    try:
        assert healthy(built, told, process), log.read_text()
        asked = [program, "generate", "--raw", "abc", "--max-tokens", "3", "--json"]
        answer = subprocess.run(asked, env=told, capture_output=True, check=False, timeout=60)
        assert answer.returncode == 0, (answer.stderr, log.read_text())
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def test_a_model_is_pulled_on_a_read_only_root_as_the_init_container_does(built, confined, told):
    names = ["smollm2-135m-instruct", "--precision", "int8"]
    store = built / "data/pulled"
    done = subprocess.run(
        [*confined, f"{built}/opt/llmrouter/bin/llmrouter", "models", "pull", *names,
         "--store", str(store)],
        env=told, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    if "pip cannot locate" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("no package index is reached from here")
    assert done.returncode == 0, done.stderr
    assert (store / "smollm2-135m-instruct-int8/genai_config.json").exists()


def write_tiny(store):
    folder = store / "tiny"
    folder.mkdir(parents=True)
    write_tiny_folder(folder)
    for path in (store.parent, store, folder, *folder.iterdir()):
        os.chown(path, 65532, 65532)


def healthy(built, told, process):
    """Whether the image's own health check says so within a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        check = [f"{built}/opt/llmrouter/bin/llmrouter", "health"]
        if not subprocess.run(check, env=told, capture_output=True, check=False).returncode:
            return True
        time.sleep(0.5)
    return False
