"""Programs that run for the length of a block."""

import asyncio
import contextlib
import os
import signal

__all__ = ["program"]


@contextlib.asynccontextmanager
async def program(*command, environment=None, seconds=30, said=asyncio.subprocess.DEVNULL, **more):
    """Run one; yields its process.

    Args:
        command: Its path and arguments.
        environment: Variables beside this process's own.
        seconds: How long it may take to end when it is told to, before it is killed.
        said: Where what it says goes: an open file; nowhere unless given.
        more: Passed on to `asyncio.create_subprocess_exec`.
    """
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **(environment or {})},
        stdout=said, stderr=said, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
