"""A real Redis or Valkey server on a free loopback port, for tests that need one."""

import contextlib
import shutil
import signal
import subprocess
import time

import pytest
from redis import Redis
from redis.exceptions import RedisError
from tests.support.ports import free_ports

__all__ = ["KEEPING", "PROGRAM", "RedisServer", "needs_server", "redis_server", "running"]

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
needs_server = pytest.mark.skipif(
    PROGRAM is None, reason="there is neither valkey-server nor redis-server on this machine"
)
KEEPING = {"appendonly": "yes"}
"""Options of one that keeps what it is told."""
_SECONDS = 30


class RedisServer:
    """One server process that can be stopped and started again, on the same port.

    Args:
        folder: Where it keeps what it keeps.
        options: Of its command line, by name; by default it keeps nothing.
        port: Where it listens; by default one that is free.
        client: How tests themselves come in, as options of `redis.Redis`.
    """

    def __init__(self, folder, *, options=None, port=None, client=None):
        self.port = port or free_ports(1)[0]
        self.options = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "save": "",
                        "appendonly": "no", "daemonize": "no", **(options or {})}  # fmt: skip
        self._client = client or {}
        self._process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Start it with what it kept when it was stopped; returns once it answers."""
        flags = [
            part
            for name, value in self.options.items()
            for part in (f"--{name}", *str(value).split(" "))
        ]
        self._process = subprocess.Popen(
            [PROGRAM, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{PROGRAM} does not answer on port {self.port}")
            time.sleep(0.02)

    def do(self, *command):
        """Send one command past the product; return the answer."""
        with Redis(host="127.0.0.1", port=self.port, socket_timeout=_SECONDS, **self._client) as to:
            return to.execute_command(*command)

    def pause(self):
        """Let it hold its connections and say nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """End the pause."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        """Stop it; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)  # one that is paused takes no other signal
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_SECONDS)

    def _answers(self):
        with contextlib.suppress(RedisError, OSError):
            return bool(self.do("PING"))
        return False


@contextlib.asynccontextmanager
async def running(folder, **more):
    """Run one for the length of a block; see `RedisServer`."""
    server = RedisServer(folder, **more)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(tmp_path):
    """A running server with nothing in it, which keeps what it is told; skipped without one."""
    if PROGRAM is None:
        pytest.skip("there is neither valkey-server nor redis-server on this machine")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, options=KEEPING)
    server.start()
    yield server
    server.stop()
