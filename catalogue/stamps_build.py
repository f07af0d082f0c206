"""Build the stamps catalogue: package -> unpacked tree -> linked media, clips, manifest.

Every step is skipped where its result is there already; every file appears under its name only when it is
whole; the manifest is written last. So an interrupted run is continued by the next one, and a repeated run
does nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from catalogue.building import Step, prune, run_jobs, write_bytes
from catalogue.clips import make_clip
from catalogue.pictures import svg_to_png
from catalogue.split import Split
from catalogue.stamps import STAMPS_FOLDER, Scan, Stamp, scan

__all__ = ["CLIPS_PER_SPLIT", "build", "choose_clips", "clip_name"]

# 80 clips; the sides that are measured get more than their share.
CLIPS_PER_SPLIT: dict[Split, int] = {"train": 40, "validation": 20, "test": 20}
# Part of a clip's name: a change of how clips are drawn makes new files.
_CLIP_RECIPE = "1"
_REDRAWN_PX = 512


def build(unpacked: Path, out: Path, processes: int, step: Step) -> dict[str, Any]:
    """Write `out`/manifest.jsonl, summary.json, media/ and clips/; returns the summary.

    `unpacked` is the package's tree. Raises FolderError and GenerationError.
    """
    source = unpacked / STAMPS_FOLDER
    found = scan(source)
    clips = {stamp.id: clip_name(stamp, source) for stamp in choose_clips(found.stamps)}
    _link_media(found.stamps, source, out / "media", step)
    _encode_clips([stamp for stamp in found.stamps if stamp.id in clips], clips, out, processes, step)
    lines = [json.dumps(_line(stamp, clips.get(stamp.id)), ensure_ascii=False) for stamp in found.stamps]
    write_bytes(out / "manifest.jsonl", "".join(f"{line}\n" for line in lines).encode())
    summary = _summary(found, len(clips))
    write_bytes(out / "summary.json", (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    return summary


def choose_clips(stamps: Iterable[Stamp]) -> list[Stamp]:
    """The items that get a clip: per split as many as CLIPS_PER_SPLIT says, those with a sound effect first.

    Within both kinds the order is that of the hash of the id: no folder is favoured, and the choice is the
    same on every machine.
    """

    def order(stamp: Stamp) -> tuple[bool, str]:
        return stamp.effect is None, hashlib.sha256(stamp.id.encode()).hexdigest()

    ranked = sorted(stamps, key=order)
    chosen: list[Stamp] = []
    for split, wanted in CLIPS_PER_SPLIT.items():
        chosen += [stamp for stamp in ranked if stamp.split == split][:wanted]
    return sorted(chosen, key=lambda stamp: stamp.id)


def clip_name(stamp: Stamp, source: Path) -> str:
    """A file name that changes with whatever the clip is made of."""
    digest = hashlib.sha256(_CLIP_RECIPE.encode())
    for path in filter(None, (stamp.picture, stamp.effect)):
        digest.update((source / path).read_bytes())
    return f"{stamp.id}-{digest.hexdigest()[:8]}.mp4"


def _line(stamp: Stamp, clip: str | None) -> dict[str, Any]:
    media = [{"path": f"media/{stamp.stored_picture.as_posix()}"}]
    if stamp.effect:
        media.append({"path": f"media/{stamp.effect.as_posix()}", "role": "effect"})
    if clip:
        media.append({"path": f"clips/{clip}", "role": "clip"})
    return {
        "id": stamp.id,
        "title": stamp.title,
        "description": stamp.description,
        "category": stamp.category,
        "tags": stamp.tags,
        "price": stamp.price,
        "available": stamp.available,
        "media": media,
        "split": stamp.split,
        "queries": [
            {"path": f"media/{spoken.path.as_posix()}", "language": spoken.language, "role": "speech"}
            for spoken in stamp.recordings
        ],
    }


def _link_media(stamps: Iterable[Stamp], source: Path, target: Path, step: Step) -> None:
    paths: list[Path] = []
    for stamp in stamps:
        if not stamp.redraw:
            paths.append(stamp.picture)
        elif not (drawn := target / stamp.stored_picture).is_file():
            drawn.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(drawn, svg_to_png(source / stamp.picture, _REDRAWN_PX))
        if stamp.effect:
            paths.append(stamp.effect)
        paths += [spoken.path for spoken in stamp.recordings]
    for done, path in enumerate(paths, start=1):
        _link(source / path, target / path)
        if done % 256 == 0 or done == len(paths):
            step("media", done, len(paths))


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        if target.stat().st_size == source.stat().st_size:
            return
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    temporary.replace(target)


def _encode_clips(stamps: list[Stamp], names: dict[str, str], out: Path, processes: int, step: Step) -> None:
    folder = out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    # Clips of an earlier recipe are of no use to this one.
    prune(folder, names.values())
    missing = [stamp for stamp in stamps if not (folder / names[stamp.id]).is_file()]
    jobs = [
        (
            folder / names[stamp.id],
            stamp.id,
            out / "media" / stamp.stored_picture,
            out / "media" / stamp.effect if stamp.effect else None,
        )
        for stamp in missing
    ]
    run_jobs("clips", make_clip, jobs, len(stamps) - len(missing), processes, step)


def _summary(found: Scan, clips: int) -> dict[str, Any]:
    spoken = Counter(voice.language for stamp in found.stamps for voice in stamp.recordings)
    return {
        "items": len(found.stamps),
        "split": dict(Counter(stamp.split for stamp in found.stamps)),
        "with_effect": sum(stamp.effect is not None for stamp in found.stamps),
        "with_clip": clips,
        "recordings": dict(spoken.most_common()),
        "aside": found.aside,
        "redrawn": [stamp.picture.as_posix() for stamp in found.stamps if stamp.redraw],
        "left_out": {path.as_posix(): reason for path, reason in found.left_out},
        "invented_fields": ["price", "available"],
    }
