"""Hosts in namespaces and the lines between them: what other tests of a cluster stand on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.namespaces import MAX_HOSTS, Network, sweep

ROOT = Path(__file__).parents[3]
PORT = 5000
ECHO = f"""
import socket, sys
with socket.create_server((sys.argv[1], {PORT})) as server:
    while True:
        caller, _ = server.accept()
        while sent := caller.recv(100):
            caller.sendall(sent)
"""
ASK = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), 10) as server:
    for word in sys.stdin:
        server.sendall(word.encode())
        print(server.recv(100).decode(), end="", flush=True)
"""
ORPHANS = """
import subprocess, sys, time
from pathlib import Path
from tests.support.namespaces import Network
network = Network().__enter__()
host = network.host("left")
bound = host.start(["sleep", "600"], Path(sys.argv[1])).pid
while Path(f"/proc/{bound}/comm").read_text() != "sleep\\n":
    time.sleep(0.01)
free = subprocess.Popen(["ip", "netns", "exec", host.namespace, "sleep", "600"]).pid
while Path(f"/proc/{free}/comm").read_text() != "sleep\\n":
    time.sleep(0.01)
host.knows({"a": ["10.0.0.1"]})
print(host.namespace, bound, free, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def two(network, tmp_path):
    """Two hosts, one of which repeats what it is told."""
    asking, answering = network.host("asking"), network.host("answering")
    answering.start([sys.executable, "-c", ECHO, answering.address], tmp_path / "log")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((answering.address, PORT), 1):
            return asking, answering
        time.sleep(0.02)
    raise AssertionError((tmp_path / "log").read_text())


@contextlib.contextmanager
def asked(asking, answering):
    """Yield what says a word on one connection and returns what comes back."""
    command = ["ip", "netns", "exec", asking.namespace, sys.executable, "-c", ASK]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, answering.address], text=True, **pipes) as process:

        def say(word):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        try:
            yield say
        finally:
            process.kill()


def test_hosts_reach_each_other_and_a_late_and_lossy_line_tells_them_everything(two, lines):
    with asked(*two) as say:
        assert say("at once") == "at once"
        line = lines.between(*two, delay=0.005, loss=0.1)
        assert [say(str(number)) for number in range(10)] == [str(number) for number in range(10)]
        assert line.carried > 20
        assert line.lost > 0


def test_what_is_said_over_a_line_that_is_cut_comes_once_it_is_mended(two, lines):
    line = lines.between(*two)
    with asked(*two) as say:
        assert say("before") == "before"
        line.cut = True
        lines.later(0.3, lambda: setattr(line, "cut", False))
        assert say("during") == "during"
        assert line.lost > 0


def test_what_a_killed_process_leaves_is_removed_when_the_next_network_is_made(network, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, tmp_path / "log"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        namespace, bound, free = process.stdout.readline().split()
        assert namespace in _shown("ip", "netns", "list")
        process.kill()
    with pytest.raises(ProcessLookupError):
        _until_gone(int(bound))
    bridge = namespace.split("-")[0]
    # The kernel keeps a namespace for whoever has it open, as it does for a program that is ending.
    with Path("/run/netns", namespace).open("rb"):
        with Network():
            pass
        assert namespace not in _shown("ip", "netns", "list")
        assert bridge not in _shown("ip", "-o", "link")
    assert not Path("/etc/netns", namespace).exists()
    with pytest.raises(ProcessLookupError):
        _until_gone(int(free))


def test_a_network_leaves_nothing_and_a_sweep_takes_nothing_of_a_living_one(network):
    with Network() as other:
        other.host("one").knows({"a": ["10.0.0.1"]})
        sweep()
        assert f"{other.name}-one" in _shown("ip", "netns", "list")
    assert other.name not in _shown("ip", "netns", "list") + _shown("ip", "-o", "link")


def test_there_is_a_bound_on_hosts(network):
    network.hosts.update({str(number): None for number in range(MAX_HOSTS)})
    try:
        with pytest.raises(RuntimeError, match="32 hosts"):
            network.host("one too many")
    finally:
        network.hosts.clear()


def _shown(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def _until_gone(process):
    """Raise ProcessLookupError once it is no more."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        os.kill(process, 0)
        if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
