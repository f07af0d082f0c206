"""A model repository of a profile's own: the committed one's configurations and steps, with its sizes.

``lite`` is served from the committed folder. Every other profile stands beside it in
``$SENSORIUM_HOME/repositories/<profile>``, is served from there or made a release of
(docs/adr/0027-profiles-beside-each-other.md).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from export.attention_steps import ATTEND, has_attention
from export.errors import InstallError
from export.profile import DEFAULT, Inputs, Profile
from export.records import write_atomically
from export.reranker_steps import RERANK, has_reranker
from export.settings import ROOT, Settings

__all__ = ["is_default", "lay_out", "settings_of"]

TEMPLATE = ROOT / "model_repository"
TRANSCRIBE = "transcribe_audio"
_SHARED_STEPS = ("tokens.py", "vocabulary.py")
"""Of transcription, also read by the one that reads logits."""


def is_default(profile: Profile) -> bool:
    """Whether a profile is served from the committed folder."""
    return profile.name == DEFAULT


def settings_of(profile: Profile, settings: Settings) -> Settings:
    """The settings with the profile's own model repository, where it has one."""
    if is_default(profile):
        return settings
    own = settings.home.absolute() / "repositories" / profile.label
    return settings.model_copy(update={"model_repository": own})


def lay_out(profile: Profile, settings: Settings) -> None:
    """Put configurations and Python steps into the profile's own repository, over what is there.

    Raises:
        InstallError: the committed repository has not the sizes that are to be replaced, or nothing can be
            written.
        WeightsError: a trained model on embeddings is damaged.
    """
    if is_default(profile):
        return
    # models on embeddings belong to the encoders that they were trained on
    there = {RERANK: has_reranker(settings, profile), ATTEND: has_attention(settings, profile)}
    try:
        for source in sorted(TEMPLATE.glob("*/config.pbtxt")):
            model = source.parent
            if not there.get(model.name, True):
                continue
            target = settings.model_repository / model.name
            for config in (source, *sorted(model.glob("configs/*.pbtxt"))):
                text = resized(config.read_text(encoding="utf-8"), profile.inputs)
                write_atomically(target / config.relative_to(model), text)
            for step in sorted([*model.glob("1/*.py"), *model.glob("1/speech.json")]):
                _copy(step, target / "1")
            if model.name.startswith("embed_"):  # an ensemble's version folder is empty
                (target / "1").mkdir(parents=True, exist_ok=True)
        audio = profile.models.get("encode_audio")
        if audio is not None and audio.encoder is not None and audio.encoder.logits:
            _hear_by_logits(settings.model_repository, audio.encoder.logits)
    except OSError as error:
        raise InstallError(f"{settings.model_repository}: {error}") from error


def _hear_by_logits(repository: Path, symbols: int) -> None:
    """Transcription reads what the encoder's CTC head says, in place of a model of its own."""
    folder = repository / "encode_audio"
    native = '{ name: "native", data_type: TYPE_FP32, dims: [ 512 ] }'
    logits = f'{native},\n  {{ name: "logits", data_type: TYPE_FP32, dims: [ -1, {symbols} ] }}'
    for encoder in (folder / "config.pbtxt", *sorted(folder.glob("configs/*.pbtxt"))):
        text = encoder.read_text(encoding="utf-8")
        if text.count(native) != 1:
            raise InstallError(f"{encoder} does not name its outputs as expected")
        write_atomically(encoder, text.replace(native, logits))
    source, target = TEMPLATE / TRANSCRIBE, repository / TRANSCRIBE
    shutil.rmtree(target)
    write_atomically(target / "config.pbtxt", (source / "configs" / "ctc.pbtxt").read_text(encoding="utf-8"))
    for step in (*sorted(source.glob("ctc/*.py")), *(source / "1" / name for name in _SHARED_STEPS)):
        _copy(step, target / "1")


def _copy(step: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(step, folder / step.name)


def resized(config: str, inputs: Inputs) -> str:
    """A configuration with the sizes of ``inputs`` in place of those of ``lite``."""
    lite = Inputs()
    # as tensors have them, and as the profiles of TensorRT's execution provider do, behind the batch
    for before, mark, after in ((r"dims: \[ ", ", ", r" \]"), (r":\d+x", "x", r"(?=[,\"])")):
        for sizes, others in (
            ((lite.side_px, lite.side_px, 3), (inputs.side_px, inputs.side_px, 3)),
            (
                (lite.frames, lite.side_px, lite.side_px, 3),
                (inputs.frames, inputs.side_px, inputs.side_px, 3),
            ),
        ):
            found, instead = (mark.join(map(str, each)) for each in (sizes, others))
            config = re.sub(rf"({before}){found}({after})", rf"\g<1>{instead}\g<2>", config)
    return config
