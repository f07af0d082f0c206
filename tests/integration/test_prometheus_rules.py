"""deploy/prometheus through promtool: it is well formed, and the alerts fire when they should."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from fixtures_prometheus import ROOT, RULES, rules

CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
CASES = sorted(Path(__file__).parent.glob("prometheus_*alerts.yml"))


def promtool(bin_dir: Path, *arguments: str) -> str:
    """What it prints; the test fails when it is not content."""
    done = subprocess.run(
        [str(bin_dir / "promtool"), *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
    return done.stdout


def test_the_configuration_and_its_rules_are_well_formed(prometheus_bin: Path, tmp_path: Path) -> None:
    key = tmp_path / "metrics_key"
    key.write_text("sns_key")
    folder = shutil.copytree(CONFIG.parent, tmp_path / "prometheus")
    config = folder / CONFIG.name
    config.write_text(config.read_text().replace("/run/secrets/metrics_key", str(key)))
    assert "SUCCESS" in promtool(prometheus_bin, "check", "config", str(config))
    for path in RULES:
        assert "rules found" in promtool(prometheus_bin, "check", "rules", str(path))


def test_promtool_refuses_what_is_not(prometheus_bin: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text('groups: [{name: a, rules: [{alert: A, expr: "rate(x"}]}]')
    done = subprocess.run(
        [str(prometheus_bin / "promtool"), "check", "rules", str(broken)], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    fires = {
        case["alertname"]
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fires == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(prometheus_bin: Path, tmp_path: Path, path: Path) -> None:
    cases = path.read_text().replace("[RULES]", json.dumps([str(each) for each in RULES]))
    (tmp_path / "cases.yml").write_text(cases)
    assert "SUCCESS" in promtool(prometheus_bin, "test", "rules", str(tmp_path / "cases.yml"))
