"""A real Prometheus from Debian, without root: its package is fetched, checked and unpacked below the cache.

For the tests of deploy/prometheus/ and for the picture of the dashboard.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from catalogue.debian import DebianPackage, fetch, unpack
from cli.scratch import free_ports

__all__ = ["CONFIG", "PACKAGE", "binaries", "running_prometheus"]

PACKAGE = DebianPackage(
    name="prometheus",
    version="2.42.0+ds-5+deb12u1",
    sha256="81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
    size_bytes=19_257_088,
)
CONFIG = Path(__file__).resolve().parents[1] / "deploy/prometheus/prometheus.yml"
_START_S = 60.0


def binaries(cache: Path) -> Path:
    """The folder of `prometheus` and `promtool`. Raises catalogue.errors.PackageError."""
    fetch(PACKAGE, cache)
    return unpack(PACKAGE, cache) / "usr/bin"


@contextlib.contextmanager
def running_prometheus(
    bin_dir: Path, folder: Path, targets: Mapping[str, str], interval_s: int = 1
) -> Iterator[str]:
    """Prometheus with the configuration and the rules of deploy/, asking `targets` (job to host:port).

    Jobs without a target are left out. Gives its URL and ends it afterwards. Raises RuntimeError when it does
    not start.
    """
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    (port,) = free_ports(1)
    config["global"] |= {f"{name}_interval": f"{interval_s}s" for name in ("scrape", "evaluation")}
    config["global"]["scrape_timeout"] = f"{interval_s}s"
    config["rule_files"] = [str(CONFIG.parent / pattern) for pattern in config["rule_files"]]
    for job in config["scrape_configs"]:
        job.pop("authorization", None)  # a system of a test asks for no key
    config["scrape_configs"] = [
        job | {"static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"
    command = [
        str(bin_dir / "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={"GOMAXPROCS": "1"})
    try:
        deadline = time.monotonic() + _START_S
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "prometheus.log").read_text()[-2000:])
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False
