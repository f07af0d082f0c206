"""Alerts, recorded series and dashboards against the code: metrics, labels, budgets, and the runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from fixtures_prometheus import DASHBOARDS, expressions, metric_names, panels, rules
from prometheus_client import CollectorRegistry

from orchestrator import errors
from orchestrator.gate import Outcome
from orchestrator.metrics import Metrics
from orchestrator.settings import BudgetSettings
from orchestrator.spans import SPAN_OUTCOMES
from orchestrator.trace import STAGES
from orchestrator.types import Modality
from serving.repository import read_config

ROOT = Path(__file__).parents[3]
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
MODALITIES = {*(modality.value for modality in Modality), "mixed"}


def exported(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Names of every sample that the registry can give, with the labels of its metric."""
    found: dict[str, set[str]] = {}
    collectors = set(registry._collector_to_names)
    for collector in collectors:
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        for family in collector.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            for suffix in suffixes.get(family.type, ("",)):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def test_every_metric_of_ours_is_registered() -> None:
    ours = {name for name in metric_names() if name.startswith("sensorium_")}
    assert len(ours) > 10
    assert ours <= set(exported(Metrics().registry))


def test_every_metric_of_ours_is_in_a_rule_or_a_panel() -> None:
    families = {name: re.sub(r"_(bucket|sum|count)$", "", name) for name in exported(Metrics().registry)}
    shown = {families[name] for name in metric_names() if name.startswith("sensorium_")}
    assert set(families.values()) == shown


def test_models_of_rules_are_those_of_the_repository() -> None:
    configs = {
        path.parent.name: read_config(path) for path in (ROOT / "model_repository").glob("*/config.pbtxt")
    }
    ensembles = {name for name, config in configs.items() if config.ensemble_scheduling.step}
    graphs = {name for name, config in configs.items() if config.backend == "onnxruntime"}
    assert len(ensembles) == len(Modality)
    meant = {
        "SensoriumTritonQueueWait": set(configs) - ensembles,
        "SensoriumTritonFailures": graphs,  # not of decoders: these refuse content that is bad
        "SensoriumTritonSilent": ensembles,
    }
    for alert, models in meant.items():
        (pattern,) = re.findall(r'model=~"([^"]+)"', ALERTS[alert]["expr"])
        assert {name for name in configs if re.fullmatch(pattern, name)} == models, alert
        assert all(any(re.fullmatch(part, name) for name in configs) for part in pattern.split("|")), alert
    named = [name for name, rule in ALERTS.items() if "model=~" in rule["expr"]]
    assert sorted(named) == sorted(meant)


def test_every_recorded_series_is_used_or_shown_and_every_used_one_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for query in expressions() for name in re.findall(r"\b(?:sensorium|triton):[\w:]+", query)}
    assert used <= recorded
    assert recorded - used == {"sensorium:search_seconds:p99_5m"}


def test_labels_are_those_of_the_metric() -> None:
    labels = exported(Metrics().registry)
    for query in expressions():
        for name, matchers in re.findall(r"\b(sensorium_\w+)\{([^}]*)\}", query):
            for label in re.findall(r"(\w+)\s*[=!]", matchers):
                assert label in labels[name], f"{name} has no label {label}"


def test_values_of_labels_exist() -> None:
    codes = {
        value.code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.SensoriumError)
    }
    for query in expressions():
        for modality in re.findall(r'modality="([^"]+)"', query):
            assert modality in MODALITIES
        for stage in re.findall(r'stage="([^"]+)"', query):
            assert stage in STAGES
        for name, matchers in re.findall(r"\b(sensorium_\w+)\{([^}]*)\}", query):
            known = {*codes, "ok"}
            if name.startswith("sensorium_admission_"):
                known = set(get_args(Outcome))
            elif name.startswith("sensorium_trace_"):
                known = set(SPAN_OUTCOMES)
            patterns = re.findall(r'outcome[=!~]+"([^"]+)"', matchers)
            for part in [part for pattern in patterns for part in pattern.split("|")]:
                expression = re.compile(part.replace("\\\\", "\\"))
                assert any(expression.fullmatch(value) for value in known), part


def test_a_stage_alerts_before_its_budget_is_spent() -> None:
    bounds = re.findall(r'stage="(\w+)"\} > ([\d.]+)', ALERTS["SensoriumStageSlow"]["expr"])
    budgets = BudgetSettings()
    assert sorted(f"{stage}_s" for stage, _ in bounds) == sorted(
        {*BudgetSettings.model_fields} - {"request_s"}
    )
    for stage, bound in bounds:
        assert float(bound) < getattr(budgets, f"{stage}_s")
    slow = dict(re.findall(r'modality="(\w+)"\} > ([\d.]+)', ALERTS["SensoriumSearchSlow"]["expr"]))
    assert set(slow) == MODALITIES
    assert all(float(bound) < budgets.request_s for bound in slow.values())


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    entries = re.findall(r"^### (Sensorium\w+)$", text, re.MULTILINE)
    assert sorted(entries) == sorted(ALERTS)
    for name in entries:
        entry = text.split(f"### {name}\n", 1)[1].split("\n#", 1)[0]
        assert len(entry.split()) > 25, f"{name} says too little"
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["for"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    board = json.loads(path.read_text())
    assert re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"])
    assert board["title"]
    assert isinstance(board["schemaVersion"], int)
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        taken |= cells


def test_every_panel_asks_the_datasource_of_the_variable() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            assert (
                target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            )
            assert target["expr"]
            assert target["legendFormat"]
    provisioned = (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    assert "type: prometheus" in provisioned
