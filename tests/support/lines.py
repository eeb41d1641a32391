"""Lines between pairs of hosts that are late, lose packets or are cut.

What two hosts send each other is led through TUN devices to this process, which carries it over -
later, not at all, or as it is. (`tc netem` does as much in kernels that have it; many have not.)
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from tests.support.namespaces import Host

__all__ = ["Line", "Lines"]

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001
_LARGEST_PACKET = 1 << 16
_MAX_UNDER_WAY = 50_000
_COMMAND_SECONDS = 20
_numbers = itertools.count()


@dataclass
class Line:
    """How the packets of two hosts fare; both directions alike, changed at any moment."""

    delay: float = 0.0
    """Seconds in one direction."""
    loss: float = 0.0
    """Share of packets that are lost, 0 to 1."""
    cut: bool = False
    """Whether all of them are; neither side is told."""
    carried: int = 0
    lost: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(5))  # noqa: S311

    def takes(self) -> bool:
        """Whether the next packet goes through."""
        if self.cut or self.dice.random() < self.loss:
            self.lost += 1
            return False
        self.carried += 1
        return True


class Lines:
    """All lines of a test and the thread that carries their packets. Use it with `with`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._order = itertools.count()
        self._devices: list[int] = []
        self._timers: list[threading.Timer] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="lines", daemon=True)

    def __enter__(self) -> Self:
        self._wake, self._woken = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        self._ended.set()
        os.write(self._woken, b"x")
        self._thread.join(10)
        for device in (*self._devices, self._wake, self._woken):
            os.close(device)  # the device goes with its last user, and the route with the device
        self._selector.close()

    def between(self, one: Host, other: Host, **fares: float | bool) -> Line:
        """Lead what two hosts send each other over a new line; open connections change to it."""
        line = Line(**fares)  # type: ignore[arg-type]
        here, there = self._device(one), self._device(other)
        for device, far in ((here, there), (there, here)):
            self._selector.register(device.number, selectors.EVENT_READ, (line, far.number))
        for host, device, peer in ((one, here, other), (other, there, one)):
            host.ip("route", "add", f"{peer.address}/32", "dev", device.name, "src", host.address)
        os.write(self._woken, b"x")
        return line

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something in a moment, beside what a test waits for; not once it has ended."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _device(self, host: Host) -> _Device:
        device = _Device(f"llmrt{os.getpid()}.{next(_numbers)}"[:15])
        self._devices.append(device.number)
        move = ["ip", "link", "set", device.name, "netns", host.namespace]
        subprocess.run(move, check=True, capture_output=True, timeout=_COMMAND_SECONDS)
        host.ip("link", "set", device.name, "up")
        return device

    def _carry(self) -> None:
        while not self._ended.is_set():
            wait = None
            if self._under_way:
                wait = max(0.0, self._under_way[0][0] - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.data is None:
                    os.read(key.fd, 64)
                else:
                    self._take(key.fd, *key.data)
            self._deliver()

    def _take(self, device: int, line: Line, far: int) -> None:
        try:
            packet = os.read(device, _LARGEST_PACKET)
        except OSError:  # its host is gone
            self._selector.unregister(device)
            return
        if len(self._under_way) < _MAX_UNDER_WAY and line.takes():
            due = time.monotonic() + line.delay
            heapq.heappush(self._under_way, (due, next(self._order), far, packet))

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, _, far, packet = heapq.heappop(self._under_way)
            try:
                os.write(far, packet)
            except OSError:
                continue  # its host is gone


class _Device:
    """A TUN device whose packets this process reads and writes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER)
        fcntl.ioctl(self.number, _TUNSETIFF, request)
