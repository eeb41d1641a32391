"""Hosts on this machine: network namespaces on one bridge, with programs of their own.

Everything is named after this process, `llmr<pid>x<number>`, and goes with the block. What a
process that was killed left behind goes when the next network is made; programs die with their
parent, those that were only about to be started then with what it left.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Host", "Network", "why_not"]

MAX_HOSTS = 32
_COMMAND_SECONDS = 20
_END_SECONDS = 10
_NAME = re.compile(r"\bllmr([0-9]+)x[0-9]+(?:-[\w-]+)?")
_ETC = Path("/etc/netns")
"""`ip netns exec` lays what is in a namespace's folder there over `/etc`."""
_numbers = itertools.count()


def why_not() -> str:
    """Return why this machine can have no such hosts; empty where it can."""
    missing = [one for one in ("ip", "setpriv") if shutil.which(one) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} (iproute2, util-linux) on this machine"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if not os.access("/dev/net/tun", os.W_OK):
        return "there is no /dev/net/tun, by which lines between hosts are made worse"
    probe = f"llmr{os.getpid()}x{next(_numbers)}-probe"
    try:
        _run("ip", "netns", "add", probe)
    except RuntimeError as refused:
        return f"namespaces are refused here: {refused}"
    _run("ip", "netns", "del", probe, check=False)
    return ""


@dataclass
class Host:
    """One host of a network."""

    name: str
    address: str
    namespace: str
    port: str
    """Its end of the cable at the bridge."""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, command: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a program there, its output added to a file; it dies with this process."""
        inside = ["ip", "netns", "exec", self.namespace, "setpriv", "--pdeathsig", "KILL"]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*inside, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        self.running.append(process)
        return process

    def knows(self, names: Mapping[str, Sequence[str]]) -> None:
        """Let the programs that start there from now on find addresses by these names."""
        folder = _ETC / self.namespace
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{address} {name}" for name, some in names.items() for address in some]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def asks(self, server: str, domain: str) -> None:
        """Let the programs that start there ask a name server, as pods of a domain do."""
        folder = _ETC / self.namespace
        folder.mkdir(parents=True, exist_ok=True)
        told = f"search {domain}\nnameserver {server}\noptions ndots:5\n"
        (folder / "resolv.conf").write_text(told)

    def ip(self, *words: str) -> None:
        """Configure its network."""
        _run("ip", "-n", self.namespace, *words)

    def unplug(self) -> None:
        """Pull its cable: what is sent to it and by it is lost, and nobody is told."""
        _run("ip", "link", "set", self.port, "down")

    def plug_in(self) -> None:
        """Put the cable in again."""
        _run("ip", "link", "set", self.port, "up")

    def end(self) -> None:
        """Kill what runs there."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        self.running.clear()


class Network:
    """A bridge and the hosts on it; this process reaches them all. Use it with `with`."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"llmr{os.getpid()}x{number}"
        self.hosts: dict[str, Host] = {}
        self._subnet = f"10.{200 + number % 50}.{os.getpid() % 256}"

    def __enter__(self) -> Self:
        sweep()
        atexit.register(self.close)
        try:
            _run("ip", "link", "add", self.name, "type", "bridge")
            _run("ip", "address", "add", f"{self._subnet}.1/24", "dev", self.name)
            _run("ip", "link", "set", self.name, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Of this process in the network."""
        return f"{self._subnet}.1"

    def host(self, name: str) -> Host:
        """Add a host.

        Raises:
            RuntimeError: There are as many as there may be.
        """
        number = len(self.hosts)
        if number >= MAX_HOSTS:
            raise RuntimeError(f"a network has {MAX_HOSTS} hosts at most")
        port = f"{self.name}h{number}"[-15:]
        made = Host(name, f"{self._subnet}.{10 + number}", f"{self.name}-{name}", port)
        _run("ip", "netns", "add", made.namespace)
        self.hosts[name] = made
        cable = ("link", "add", port, "type", "veth", "peer", "name", "eth0")
        _run("ip", *cable, "netns", made.namespace)
        _run("ip", "link", "set", port, "master", self.name, "up")
        made.ip("address", "add", f"{made.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            made.ip("link", "set", device, "up")
        return made

    def close(self) -> None:
        """End all programs and remove everything. Safe to call twice."""
        atexit.unregister(self.close)
        for host in self.hosts.values():
            host.end()
        for host in self.hosts.values():
            _run("ip", "link", "del", host.port, check=False)
            _remove(host.namespace)
        self.hosts.clear()
        _run("ip", "link", "del", self.name, check=False)


def sweep() -> None:
    """Remove what processes that are no more have left."""
    names = _run("ip", "netns", "list"), _run("ip", "-o", "link", "show", "type", "bridge")
    folders = [one.name for one in _ETC.glob("llmr*")]
    shown = "\n".join([*names, *folders])
    for found in sorted({one.group() for one in _NAME.finditer(shown) if _is_dead(int(one[1]))}):
        if "-" in found:
            _remove(found)
        else:
            _unplug_all(found)
            _run("ip", "link", "del", found, check=False)


def _remove(namespace: str) -> None:
    """Remove a namespace and end whoever is in it: while somebody is, it lives on unnamed."""
    for process in _run("ip", "netns", "pids", namespace, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    _run("ip", "netns", "del", namespace, check=False)
    shutil.rmtree(_ETC / namespace, ignore_errors=True)


def _unplug_all(bridge: str) -> None:
    """Remove what is plugged into a bridge; the kernel would with a namespace's last user."""
    for line in _run("ip", "-o", "link", "show", "master", bridge, check=False).splitlines():
        port = line.split(": ")[1].partition("@")[0]
        _run("ip", "link", "del", port, check=False)


def _is_dead(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
