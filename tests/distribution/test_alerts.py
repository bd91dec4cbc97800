"""Alerts, autoscalers and the dashboard ask for metrics that the service has; the alerts fire when they should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.observe.metrics import Metrics
from deploy import rules

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OTHERS = {"up": set(), "kube_pod_container_resource_limits": {"resource", "container"}}  # Prometheus's and Kubernetes's
OF_TARGETS = {"job", "instance", "namespace", "pod"}  # labels that scraping adds
METRIC = re.compile(r"\b((?:cameo|process|kube)_\w+|up)\b(?:\{([^}]*)\})?")


def known() -> dict[str, set[str]]:
    """The names of all series of the service, with their labels."""
    metrics, found = Metrics(), {name: set[str]() for name in OTHERS}
    for family in metrics.registry.collect():  # those without labels, and the process's
        found |= {sample.name: set(sample.labels) for sample in family.samples}
    for collector in vars(metrics).values():
        if name := getattr(collector, "_name", None):
            labels = set(collector._labelnames)
            for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
                collector._type, [""]
            ):
                found[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found | OTHERS


def queries() -> Iterator[tuple[str, str]]:
    """Where it is, and PromQL."""
    for rule in yaml.safe_load(rules.RULES.read_text())["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]
    for panel in json.loads((DEPLOY / "grafana/dashboards/cameo.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard: {panel['title']}", target["expr"]
    components = DEPLOY / "kubernetes" / "components"
    for trigger in yaml.safe_load((components / "keda/scaler.yaml").read_text())["spec"]["triggers"]:
        yield f"KEDA: {trigger['name']}", trigger["metadata"]["query"]
    for metric in yaml.safe_load((components / "hpa/autoscaler.yaml").read_text())["spec"]["metrics"]:
        if metric["type"] == "Pods":
            yield "HPA", metric["pods"]["metric"]["name"]


@pytest.mark.parametrize(("place", "query"), list(queries()))
def test_queries_name_what_the_service_measures(place: str, query: str) -> None:
    series, asked = known(), METRIC.findall(query)
    assert asked, f"{place} asks for nothing"
    for name, selector in asked:
        assert name in series
        assert set(re.findall(r"(\w+)\s*(?:=|!)", selector)) <= series[name] | OF_TARGETS, f"{place}: {name}"


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads((DEPLOY / "grafana/dashboards/cameo.json").read_text())["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
        assert at["x"] + at["w"] <= 24


def test_kubernetes_has_the_same_alerts() -> None:
    assert rules.RESOURCE.read_text() == rules.resource(), "python -m deploy.rules"
    resource = yaml.safe_load(rules.RESOURCE.read_text())
    assert resource["spec"] == yaml.safe_load(rules.RULES.read_text())


def test_compose_has_the_alerts_and_the_job_that_they_select() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["rule_files"] == [rules.RULES.name]
    assert [each["job_name"] for each in config["scrape_configs"]] == ["cameo"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool: apt-get install prometheus")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "deploy/prometheus/prometheus.yml"],
        ["test", "rules", "tests/distribution/alerts.yml"],
    ],
)
def test_alerts_fire_when_they_should(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    """As far as promtool is there: each must be named where alerts fire."""
    expected = (ROOT / "tests/distribution/alerts.yml").read_text()
    for rule in yaml.safe_load(rules.RULES.read_text())["groups"][0]["rules"]:
        assert f'alertname="{rule["alert"]}"' in expected
        assert {"summary", "action"} == rule["annotations"].keys()
