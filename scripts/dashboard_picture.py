"""Draws deploy/grafana's dashboard from a real Prometheus for docs/operations.md: `make dashboard-picture`.

Not Grafana's picture: the queries of each panel are asked of Prometheus and drawn with matplotlib. The
system is a scratch one with a generated catalogue, whose own content is searched for `--seconds`, by more
clients than it has places for, and now and then with a file that is cut off: the lines show that the queries
work, not how fast the system is.
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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console

from catalogue import read_manifest
from catalogue.manifest import ManifestItem
from cli.client import Client, ClientError
from cli.indexing import index_items
from cli.scratch import scratch_stack
from orchestrator.settings import load_settings
from scripts.prometheus import binaries, running_prometheus
from sensorium.v1 import sensorium_pb2 as pb

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ROOT / "deploy/grafana/dashboards/sensorium.json"
PICTURE = ROOT / "docs/images/dashboard.png"
ITEMS = 40
STEP_S = 2
COLUMNS = 3
MAX_LINES = 6
UNITS = {"reqps": ", per second", "s": ", seconds", "bytes": ", bytes"}
CLIENTS = 5
TIGHT = {
    "SENSORIUM_ADMISSION__MAX_CONCURRENT": "2",
    "SENSORIUM_ADMISSION__MAX_WAITING": "2",
    "SENSORIUM_BUDGET__TRANSCRIBE_S": "0.2",
}
"""So that the panels of what is refused and degraded have something to show."""
PAUSE_S = 0.5
"""Of a client that was turned away."""


def requests(items: list[ManifestItem], client: int) -> Iterator[pb.SearchRequest]:
    """For ever: an item's title, each of its media, and one of them cut off; two of three rounds ask what the
    one before asked."""
    for number in itertools.count(client * len(items) // CLIENTS):
        item = items[number // 3 % len(items)]
        yield pb.SearchRequest(parts=[pb.QueryPart(text=item.title)])
        contents = [media.path.read_bytes() for media in item.media if media.path]
        for content in (*contents, contents[0][:100]):
            yield pb.SearchRequest(parts=[pb.QueryPart(data=content)])


def search(target: str, items: list[ManifestItem], until: float, client: int) -> None:
    """One client after another query, until the time `until`; refusals are part of the picture."""
    with Client(target) as system:
        for request in requests(items, client):
            if time.time() > until:
                break
            try:
                system.search(request)
            except ClientError:
                time.sleep(PAUSE_S)


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
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(6 * COLUMNS, 3.4 * rows), layout="constrained")
    for axis, panel in itertools.zip_longest(axes.flat, panels):
        if panel is None:
            axis.axis("off")
            continue
        lines = [
            (legend(target["legendFormat"], series["metric"]), np.array(series["values"], dtype=float))
            for target in panel["targets"]
            for series in ask(url, target["expr"].replace("$modality", ".*"), start, end)
        ]
        lines = [(name, points) for name, points in lines if np.isfinite(points[:, 1]).any()]
        highest = sorted(lines, key=lambda line: -np.nanmax(line[1][:, 1]))[:MAX_LINES]
        for name, points in [line for line in highest if np.nanmax(line[1][:, 1]) > 0] or highest:
            # also a line at zero is seen: it is not cut off by the axis
            axis.plot(points[:, 0] - start, points[:, 1], linewidth=1.2, label=name, clip_on=False)
        more = f", {MAX_LINES} highest of {len(lines)}" if len(lines) > MAX_LINES else ""
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if unit == "percentunit":
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        said = "" if panel["title"].endswith("a second") else UNITS.get(unit, "")
        axis.set_title(f"{panel['title']}{said}{more}", fontsize=11)
        axis.set_xlim(0, end - start)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if not lines:
            axis.text(0.5, 0.5, "no data", ha="center", va="center", transform=axis.transAxes, color="grey")
            continue
        # below the axes: a legend upon them would hide the lines
        axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    figure.suptitle("Queries of the dashboard, drawn with matplotlib from a real Prometheus; x: seconds")
    figure.savefig(PICTURE, dpi=70)


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
        with scratch_stack(folder / "home", home, TIGHT) as stack:
            stack.up()
            targets = {
                "orchestrator": stack.page.removeprefix("http://"),
                "triton": f"127.0.0.1:{stack.environ['SENSORIUM_SERVING_METRICS_PORT']}",
            }
            with running_prometheus(bin_dir, folder / "prometheus", targets, STEP_S) as url:
                start = time.time()
                with Client(stack.target) as client:
                    index_items(client, items, Console(stderr=True))
                one = partial(search, stack.target, items, start + seconds)
                with ThreadPoolExecutor(CLIENTS) as clients:
                    list(clients.map(one, range(CLIENTS)))
                draw(url, start, time.time())
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
