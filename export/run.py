"""Steps over graphs, shown as a table that fills while they run."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from export.attention_steps import ATTEND, has_attention
from export.errors import ExportError
from export.install import install_files, install_model, write_embedding
from export.layout import lay_out, settings_of
from export.pipeline import Exporter
from export.profile import Profile
from export.reranker_steps import RERANK, has_reranker
from export.samples import find_manifest
from export.settings import Settings
from export.tensorrt_plan import find_device
from export.tensorrt_steps import TensorRTSteps

__all__ = ["ONNXRUNTIME", "run"]

ONNXRUNTIME = "onnxruntime"
"""The target that needs no GPU: what `config.pbtxt` serves."""

RUNNING = "[cyan]..."


def run(
    steps: tuple[str, ...],
    profile: Profile,
    models: list[str] | None,
    manifest: Path | None,
    target: str = ONNXRUNTIME,
) -> None:
    """Do the steps for the graphs, step by step, and print how long each took.

    Raises:
        ExportError: the first step that fails ends the run; what was done before it is kept.
    """
    settings = settings_of(profile, Settings())
    if "plan" in steps:
        find_device()  # before minutes of other steps
    on_embeddings = {RERANK: has_reranker(settings, profile), ATTEND: has_attention(settings, profile)}
    known = [*profile.models, *(name for name, there in on_embeddings.items() if there)]
    unknown = sorted(set(models or ()) - set(known))
    if unknown:
        raise ExportError(f"no graph named {', '.join(unknown)}; there is {', '.join(known)}")
    chosen = [name for name in known if models is None or name in models]
    measuring = {"parity", "int8", "gate", "qdq", "drift"} & set(steps)
    exporter = Exporter(
        profile, settings, manifest or (find_manifest(settings.home) if measuring else Path("none"))
    )
    tensorrt = TensorRTSteps(exporter)
    cells: dict[tuple[str, str], str] = {}
    notes: list[str] = []
    if profile.origin.is_random:
        notes.append(f"random weights, seed {profile.origin.seed}: nothing they find means anything")
    if not on_embeddings[RERANK]:
        notes.append("no re-ranker was trained on these heads: `make rerank`")
    if not on_embeddings[ATTEND]:
        notes.append("no attention fusion was trained on these heads: `make attend`")
    started = time.perf_counter()
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def show(model: str, step: str, text: str) -> None:
            cells[model, step] = text
            if not live.console.is_terminal and text != RUNNING:
                live.console.print(f"{step:8} {model:14} {text}")
            live.update(
                _table(profile, chosen, steps, cells, notes, time.perf_counter() - started), refresh=True
            )

        graphs: dict[str, str] | None = None if target == ONNXRUNTIME else {}
        for step in steps:
            if step == "install":
                lay_out(profile, settings)
            installed = {}
            for model in chosen:
                show(model, step, RUNNING)
                begun = time.perf_counter()
                try:
                    if step == "install":
                        installed[model] = install_model(exporter, model)
                        skipped = not installed[model]["changed"]
                        label = f" {installed[model]['precision']}"
                        if graphs is not None:
                            graphs[model] = tensorrt.install(model, installed[model]["version"])
                    elif step == "plan":
                        skipped, label = False, f" {tensorrt.plan(model)['file']}"
                    elif step in ("qdq", "drift"):
                        record = tensorrt.run(step, model)
                        skipped, label = record.skipped, f" {record.figures.get('precision', '')}"
                    else:
                        record = exporter.run(step, model)
                        skipped, label = record.skipped, ""
                except ExportError:
                    show(model, step, "[red]failed")
                    raise
                spent = f"{time.perf_counter() - begun:.1f} s"
                show(model, step, ("[dim]unchanged" if skipped else f"[green]{spent}") + f"[/]{label}")
            if step == "install":
                files = install_files(profile, settings)
                if set(chosen) == set(known):
                    notes.append(
                        f"embedding version {write_embedding(profile, settings, installed, files, graphs)}"
                    )
                    notes.append(_fusion(settings))
                else:
                    notes.append("embedding.json unchanged: it names a whole set, and --model chose a part")
        # of the largest process: ModelOpt runs in one of its own
        largest = (
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        notes.append(f"at most {max(largest) * 1024 / 1e9:.1f} GB of memory in a process")
        live.update(_table(profile, chosen, steps, cells, notes, time.perf_counter() - started), refresh=True)


def _fusion(settings: Settings) -> str:
    released = json.loads((settings.model_repository / "embedding.json").read_text(encoding="utf-8"))
    learned = released.get("fusion")
    if learned is None:
        return "no fusion weights for this calibration (`make fusion` learns them)"
    return f"fusion learned for {', '.join(learned)} queries"


def _table(
    profile: Profile,
    models: list[str],
    steps: tuple[str, ...],
    cells: dict[tuple[str, str], str],
    notes: list[str],
    seconds: float,
) -> Table:
    caption = "; ".join([*notes, f"{seconds:.0f} s"])
    table = Table(title=f"export of profile {profile.label}", caption=caption)
    table.add_column("model")
    for step in steps:
        table.add_column(step)
    for model in models:
        table.add_row(model, *(cells.get((model, step), "") for step in steps))
    return table
