"""Draws deploy/grafana's dashboard from a real Prometheus for docs/operations.md: `make dashboard-picture`.

Not Grafana's picture: the queries of each panel are asked of Prometheus and drawn with matplotlib. The
system is a scratch one with a generated catalogue, whose own content is searched for `--seconds`: the lines
show that the queries work, not how fast the system is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console

from catalogue import read_manifest
from catalogue.manifest import ManifestItem
from cli.client import Client
from cli.indexing import index_items
from cli.scratch import scratch_stack
from orchestrator.settings import load_settings
from scripts.prometheus import binaries, running_prometheus
from sensorium.v1 import sensorium_pb2 as pb

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ROOT / "deploy/grafana/dashboards/sensorium.json"
PICTURE = ROOT / "docs/images/dashboard.png"
ITEMS = 40
STEP_S = 2
COLUMNS = 3
MAX_LINES = 12


def requests(items: list[ManifestItem]) -> Iterator[pb.SearchRequest]:
    """For ever: an item's title, then each of its media; every third query was asked before."""
    for number in itertools.count():
        item = items[(number - number % 3) % len(items)]
        yield pb.SearchRequest(parts=[pb.QueryPart(text=item.title)])
        for path in (media.path for media in item.media if media.path):
            yield pb.SearchRequest(parts=[pb.QueryPart(data=path.read_bytes())])


def ask(url: str, query: str, start: float, end: float) -> list[dict[str, Any]]:
    """Series of a query over a range, as Prometheus gives them."""
    values = {"query": query, "start": start, "end": end, "step": STEP_S}
    call = f"{url}/api/v1/query_range?{urllib.parse.urlencode(values)}"
    with urllib.request.urlopen(call, timeout=30) as answer:  # noqa: S310
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def legend(pattern: str, labels: dict[str, str]) -> str:
    """Grafana's {{label}} filled in."""
    for name, value in labels.items():
        pattern = pattern.replace(f"{{{{{name}}}}}", value)
    return pattern


def draw(url: str, start: float, end: float) -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    rows = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(6 * COLUMNS, 3 * rows), layout="constrained")
    for axis, panel in itertools.zip_longest(axes.flat, panels):
        if panel is None:
            axis.axis("off")
            continue
        axis.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", fontsize=10)
        drawn = 0
        for target in panel["targets"]:
            for series in ask(url, target["expr"].replace("$modality", ".*"), start, end):
                points = np.array(series["values"], dtype=float)
                if drawn < MAX_LINES and np.isfinite(points[:, 1]).any():
                    name = legend(target["legendFormat"], series["metric"])
                    axis.plot(points[:, 0] - start, points[:, 1], linewidth=1, label=name)
                    drawn += 1
        axis.tick_params(labelsize=7)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if drawn:
            # below the axes: a legend upon them would hide the lines
            axis.legend(fontsize=5, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
        else:
            axis.text(0.5, 0.5, "no data", ha="center", va="center", transform=axis.transAxes, color="grey")
    figure.suptitle("Queries of the dashboard, drawn with matplotlib from a real Prometheus; x: seconds")
    figure.savefig(PICTURE, dpi=60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    seconds = parser.parse_args().seconds
    home = load_settings().home.absolute()
    bin_dir = binaries(home / "cache")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["generate", "--items", str(ITEMS), "--seed", "1", "--out", str(folder / "catalogue")]
        subprocess.run([sys.executable, "-m", "catalogue", *arguments], check=True)
        items = list(read_manifest(folder / "catalogue/manifest.jsonl"))
        with scratch_stack(folder / "home", home) as stack:
            stack.up()
            targets = {
                "orchestrator": stack.page.removeprefix("http://"),
                "triton": f"127.0.0.1:{stack.environ['SENSORIUM_SERVING_METRICS_PORT']}",
            }
            with running_prometheus(bin_dir, folder / "prometheus", targets, STEP_S) as url:
                start = time.time()
                with Client(stack.target) as client:
                    index_items(client, items, Console(stderr=True))
                    for request in requests(items):
                        if time.time() > start + seconds:
                            break
                        client.search(request)
                draw(url, start, time.time())
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
