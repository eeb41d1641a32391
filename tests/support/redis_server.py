"""A real Redis or Valkey server on a free loopback port, for tests that need one."""

import contextlib
import shutil
import socket
import subprocess
import time

import pytest

_SECONDS = 30


class RedisServer:
    """One server process that can be stopped and started again, on the same port."""

    def __init__(self, program, folder):
        self._program, self._folder = program, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it with what it kept when it was stopped; returns once it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes"}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [self._program, *arguments, "--save", ""],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{self._program} does not answer on port {self.port}")
            time.sleep(0.02)

    def stop(self):
        """Stop it; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_SECONDS)

    def _answers(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as dialled,
        ):
            dialled.settimeout(1)
            dialled.sendall(b"PING\r\n")
            return dialled.recv(16).startswith(b"+PONG")
        return False


@pytest.fixture
def redis_server(tmp_path):
    """A running server with nothing in it; skipped where the machine has none."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("there is neither redis-server nor valkey-server on this machine")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(program, folder)
    server.start()
    yield server
    server.stop()
