"""Rules and dashboards: every alert as `promtool` runs it, every metric one that services show."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from llmrouter.common.telemetry.names import INSTRUMENTS, Kind
from llmrouter.common.telemetry.prometheus_page import page_name

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "helm/llmrouter/rules/llmrouter.yaml"
DASHBOARDS = sorted((ROOT / "helm/llmrouter/dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"\b(?:llm|gen_ai|rpc)_[a-z0-9_]+(?=[{\[), ]|$)")
SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum"), Kind.GAUGE: ("",)}
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus"
)


def shown():
    """The series of the page of metrics."""
    return {
        page_name(name, one.unit) + suffix
        for name, one in INSTRUMENTS.items()
        for suffix in SUFFIXES.get(one.kind, ("_total",))
    }


def groups():
    return yaml.safe_load(RULES.read_text())["groups"]


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def promtool(*arguments):
    return subprocess.run(
        [PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
def test_each_alert_fires_where_it_should_and_is_silent_beside_that(tmp_path):
    text = (Path(__file__).parent / "llmrouter.test.yaml").read_text()
    tests = tmp_path / "tests.yaml"
    tests.write_text(text.replace("RULES", str(RULES)))
    done = promtool("test", "rules", tests)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("RULES", str(RULES)).replace("summary: 3% of", "summary: 4% of"))
    assert promtool("test", "rules", wrong).returncode != 0


def test_every_alert_is_in_a_test_and_says_what_to_do():
    tested = (Path(__file__).parent / "llmrouter.test.yaml").read_text()
    alerts = [rule for group in groups() for rule in group["rules"] if "alert" in rule]
    assert alerts
    for rule in alerts:
        assert rule["alert"] in tested, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_rules_and_dashboards_speak_of_metrics_that_services_show():
    texts = [rule["expr"] for group in groups() for rule in group["rules"]]
    for path in DASHBOARDS:
        texts += expressions(json.loads(path.read_text()))
    spoken_of = {name for text in texts for name in METRIC.findall(text)}
    # Labels look alike.
    spoken_of -= {"gen_ai_token_type", "rpc_method", "rpc_response_status_code"}
    assert len(spoken_of) > 30
    assert spoken_of <= shown()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"llmrouter-{path.stem}"
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = {
        (place["x"] + across, place["y"] + down)
        for place in places
        for across in range(place["w"])
        for down in range(place["h"])
    }
    assert len(taken) == sum(place["w"] * place["h"] for place in places)
    assert len({panel["title"] for panel in dashboard["panels"]}) == len(places)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])


@needs_promtool
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_understands_every_panel(path, tmp_path):
    asked = [
        text.replace("$__rate_interval", "5m").replace("$model", ".*")
        for text in expressions(json.loads(path.read_text()))
    ]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": path.stem, "rules": rules}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
