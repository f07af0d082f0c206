"""What similarities are worth: as fitted, and before anything was fitted as the profile says."""

from __future__ import annotations

import json

from export.errors import InstallError
from export.profile import Profile
from export.reranker import ROWS
from export.settings import Settings

__all__ = ["calibration_of"]


def calibration_of(profile: Profile, settings: Settings) -> dict[str, dict[str, float]]:
    """Scale and bias of the logistic of each pair.

    Raises:
        InstallError: nothing was fitted and the profile has nothing either, or the table is malformed.
    """
    table = settings.checkpoints / profile.name / "calibration.json"
    if not table.is_file() and profile.calibration:
        pairs = [f"{query}->{row}" for query in ROWS for row in ROWS]
        pairs += ["audio->audio/native", "video->video/native"]
        found = {pair: profile.calibration.get(pair) or profile.calibration.get("*") for pair in pairs}
        if missing := [pair for pair, logistic in found.items() if logistic is None]:
            raise InstallError(f"profile {profile.name} has no calibration for {', '.join(missing)}")
        return {pair: logistic.model_dump() for pair, logistic in found.items() if logistic is not None}
    try:
        return {
            str(pair): {"scale": float(entry["scale"]), "bias": float(entry["bias"])}
            for pair, entry in json.loads(table.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstallError(f"{table}: no usable calibration ({error}); run `make train`") from error
