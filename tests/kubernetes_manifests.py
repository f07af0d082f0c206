"""The manifests of deploy/kubernetes as tests read them, with the overlay `gpu` put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/kubernetes"
FOREIGN = ("milvus.io/", "monitoring.coreos.com/", "kustomize.config.k8s.io/")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (str(path.relative_to(FOLDER)), document)
        for path in sorted(FOLDER.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def merged(whole: Any, patch: Any) -> Any:
    """A strategic merge, as far as the patches here need it: lists by name, those without are replaced."""
    if isinstance(whole, dict) and isinstance(patch, dict):
        return whole | {key: merged(whole[key], patch[key]) if key in whole else patch[key] for key in patch}
    if isinstance(whole, list) and all(
        isinstance(each, dict) and "name" in each for each in [*whole, *patch]
    ):
        known = {each["name"]: each for each in whole}
        named_ones = {each["name"]: merged(known.get(each["name"], {}), each) for each in patch}
        return list((known | named_ones).values())
    return patch


WHOLE = [(path, each) for path, each in documents() if not path.startswith("overlays/")]
NATIVE = [(path, each) for path, each in WHOLE if not each["apiVersion"].startswith(FOREIGN)]


def named(kind: str, name: str, folder: str = "") -> dict[str, Any]:
    (found,) = [
        each
        for path, each in WHOLE
        if path.startswith(folder) and each["kind"] == kind and each["metadata"]["name"] == name
    ]
    return found


def on_gpus() -> list[dict[str, Any]]:
    """What the overlay `gpu` makes of the base, and what it adds."""
    folder = FOLDER / "overlays/gpu"
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    added = [entry for entry in content["resources"] if entry.endswith(".yaml")]
    return [
        merged(
            named(patch["target"]["kind"], patch["target"]["name"]),
            yaml.safe_load((folder / patch["path"]).read_text()),
        )
        for patch in content["patches"]
    ] + [yaml.safe_load((folder / entry).read_text()) for entry in added]


GPU = {f"{each['kind']}/{each['metadata']['name']}": each for each in on_gpus()}


def pods() -> list[tuple[str, dict[str, Any]]]:
    kinds = ("Deployment", "StatefulSet", "Job")
    gpu = [(f"gpu/{each['metadata']['name']}", each) for each in GPU.values()]
    return [
        (name, each["spec"]["template"]["spec"])
        for name, each in [*((each["metadata"]["name"], each) for _, each in NATIVE), *gpu]
        if each["kind"] in kinds
    ]
