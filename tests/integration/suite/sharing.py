"""Suites that share a store of answers."""

import json

from tests.support.ports import free_ports


def sharing(config, address, name):
    """Return the path of a configuration on ports of its own, with the store's answers shared."""
    path, _ = config
    body = json.loads(path.read_text())
    ports = free_ports(4)
    for section, port in zip(("gateway", "selector", "cache", "inference"), ports, strict=True):
        body[section]["port"] = port
    body["gateway"] |= {"selector_address": f"127.0.0.1:{ports[1]}",
                        "cache_address": f"127.0.0.1:{ports[2]}"}  # fmt: skip
    body["selector"]["inference_addresses"] = [f"127.0.0.1:{ports[3]}"]
    body["cache"]["shared"] = {"address": address, "timeout_seconds": 1}
    made = path.with_name(name)
    made.write_text(json.dumps(body))
    return made
