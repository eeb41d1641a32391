"""A real Redis or Valkey, started by tests on a free port."""

import asyncio
import contextlib
import shutil
import signal
import socket
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
needs_server = pytest.mark.skipif(
    PROGRAM is None, reason="neither valkey-server nor redis-server is installed"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class RedisServer:
    """One server; `options` are those of its command line, by name."""

    folder: str
    options: dict = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    client: dict = field(default_factory=dict)
    """How tests themselves come in."""
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    async def start(self):
        given = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "",
                 "appendonly": "no", "daemonize": "no", **self.options}  # fmt: skip
        flags = [
            part for name, value in given.items() for part in (f"--{name}", *str(value).split(" "))
        ]
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, *flags, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(30):
            while not await self.answers():  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.02)

    async def answers(self):
        with contextlib.suppress(RedisError, OSError):
            await self.do("PING")
            return True
        return False

    async def do(self, *command):
        """Send one command past the product."""
        async with Redis(host="127.0.0.1", port=self.port, **self.client) as client:
            return await client.execute_command(*command)

    def pause(self):
        """Let it hold its connections and say nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    async def stop(self):
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@contextlib.asynccontextmanager
async def running(folder, **more):
    server = RedisServer(str(folder), **more)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
