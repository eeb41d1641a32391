"""Ports that nobody uses."""

import contextlib
import socket

__all__ = ["free_ports"]


def free_ports(count):
    """Return so many ports of the loopback address on which nothing listens at this moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
