"""The Prometheus of Debian's package, for tests; skipped, and said so, where it cannot be had."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalogue.errors import PackageError
from orchestrator.settings import load_settings
from scripts.prometheus import PACKAGE, binaries

ROOT = Path(__file__).resolve().parent.parent
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
_NAME = re.compile(r"\b(?:sensorium[_:]|nv_|triton:)[a-zA-Z0-9_:]+")


@pytest.fixture(scope="session")
def prometheus_bin() -> Path:
    """The folder of `prometheus` and `promtool`."""
    try:
        return binaries(load_settings().home.absolute() / "cache")
    except PackageError as error:
        pytest.skip(f"no Prometheus: needs Debian's package {PACKAGE.name} {PACKAGE.version} ({error})")


def rules() -> list[dict[str, Any]]:
    """Every rule of deploy/prometheus/rules."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel with queries of deploy/grafana/dashboards."""
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    return [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every query of rules and dashboards; a dashboard's variables are filled in."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + [query.replace("$modality", ".*") for query in queries]


def metric_names() -> set[str]:
    """Metrics that rules and dashboards name, without those that rules record."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return {name for query in expressions() for name in _NAME.findall(query)} - recorded
