"""A real Prometheus reads the page: series, rules and exemplars that lead to traces."""

import asyncio
import contextlib
import json
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from tests.integration.suite.otlp_receiver import receiving_grpc
from tests.integration.suite.test_telemetry import ask, configured
from tests.support.ports import free_ports
from tests.support.programs import program
from tests.support.waiting import until

from llmrouter import suite

PROMETHEUS = shutil.which("prometheus")
RULES = Path(__file__).resolve().parents[3] / "helm/llmrouter/rules/llmrouter.yaml"
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="Prometheus is not installed: apt-get install prometheus"
)


@contextlib.asynccontextmanager
async def scraping(page, folder):
    """Run Prometheus over one page; yields what asks its API."""
    [port] = free_ports(1)
    configuration, rules = folder / "prometheus.yaml", folder / "rules.yaml"
    rules.write_text(RULES.read_text().replace("interval: 30s", "interval: 1s"))
    scrape = {"job_name": "llmrouter", "static_configs": [{"targets": [page]}]}
    often = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    configuration.write_text(
        json.dumps({"global": often, "rule_files": [str(rules)], "scrape_configs": [scrape]})
    )
    command = [
        PROMETHEUS, f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
    ]  # fmt: skip

    async def api(path, **query):
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        return json.loads(await asyncio.to_thread(_read, url))["data"]

    async with program(*command):
        yield api


def _read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return answer.read()


async def eventually(api, path, holds, **query):
    """Ask until the answer is what `holds` wants; Prometheus starts and scrapes in its own time."""

    async def answered():
        with contextlib.suppress(OSError):
            answer = await api(path, **query)
            return [answer] if holds(answer) else None

    [answer] = await until(answered, 40, pause=0.3)
    return answer


async def test_prometheus_reads_the_page_its_exemplars_and_our_rules(config, tmp_path):
    path, _ = config
    [port] = free_ports(1)
    async with receiving_grpc() as (received, endpoint):
        configured(path, otlp_endpoint=endpoint, prometheus={"enabled": True, "port": port})
        async with (
            suite.running(path) as addresses,
            scraping(f"127.0.0.1:{port}", tmp_path) as api,
        ):
            await ask(addresses.gateway)
            counted = await eventually(
                api, "query", lambda said: said["result"], query="sum(llm_requests_total)"
            )
            targets = await api("targets")
            found = await eventually(
                api, "query_exemplars", bool, query="llm_request_duration_seconds_bucket",
                start=0, end=4102444800,
            )  # fmt: skip
            groups = await eventually(api, "rules", lambda said: _healths(said) == {"ok"})
    assert counted["result"][0]["value"][1] == "1"
    assert [one["lastError"] for one in targets["activeTargets"]] == [""]
    exemplars = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
    assert exemplars == set(received.by_trace())
    assert len(groups["groups"]) == 4


def _healths(said):
    return {rule["health"] for group in said["groups"] for rule in group["rules"]}
