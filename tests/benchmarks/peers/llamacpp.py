"""llama.cpp's own server, asked over HTTP on this machine; it batches whatever comes."""

import asyncio
import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.peers.protocol import drive, serve
from tests.support.ports import free_ports

STARTS_WITHIN = 60.0


def start(settings):
    [port] = free_ports(1)
    threads, slots = str(settings["threads"]), settings["slots"]
    options = [
        "--threads", threads, "--threads-batch", threads, "--threads-http", "2",
        "--parallel", str(slots), "--ctx-size", str(slots * settings["context"]),
        "--cont-batching", "--flash-attn", "on", "--no-webui", *settings.get("options", []),
    ]  # fmt: skip
    place = ["--model", settings["model"], "--host", "127.0.0.1", "--port", str(port)]
    # Its libraries lie beside it, wherever the folder was moved to since it was built.
    beside = {**os.environ, "LD_LIBRARY_PATH": str(Path(settings["program"]).parent)}
    # In our process group, so that the benchmark stops and ends it with us.
    server = subprocess.Popen(
        [settings["program"], *place, *options], stdout=sys.stderr, env=beside
    )
    atexit.register(server.kill)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(_healthy(port), STARTS_WITHIN))
    told = {"version": settings["version"], "settings": " ".join(options)}
    return told, lambda tally: loop.run_until_complete(_run(tally, port))


async def _run(tally, port):
    await drive(tally, lambda request, note: _complete(port, request, note, tally.job.stream))


async def _healthy(port):
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if b" 200 " in await reader.readline():
                return
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(0.2)


async def _complete(port, request, note, stream):
    body = json.dumps({
        "prompt": request.prompt, "n_predict": request.tokens, "ignore_eos": True,
        "temperature": 0, "cache_prompt": False, "stream": stream, "return_tokens": True,
    }).encode()  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        writer.write(
            b"POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{status!r} {(await reader.read(300))!r}")
        if stream:
            await _read_stream(reader, note)
        else:
            note(json.loads((await reader.read()).partition(b"\r\n\r\n")[2])["tokens_predicted"])
    finally:
        writer.close()


async def _read_stream(reader, note):
    async for line in reader:
        if line.startswith(b"data: "):
            note(len(json.loads(line[6:]).get("tokens", ())))


if __name__ == "__main__":
    serve(start)
