"""Fine-tuning of the text encoder: a thing's name beside its synonyms and what WordNet says it is.

Low-rank matrices (LoRA, Hu et al. 2021, arXiv:2106.09685) beside the maps of the last layers learn by
symmetric InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) with a learned temperature. Batches are drawn
from k-means clusters of what the encoder makes of the names, anew each epoch, so that the negatives are hard.
Ordinary sentences stay where the published encoder has them (learning without forgetting, Li and Hoiem 2016,
arXiv:1606.09282): pictures are mapped to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from scipy.cluster.vq import kmeans2
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from export.encoders import TextEncoder
from export.lowrank import UP
from training.contrastive import Curve
from training.lexicon import Entry

__all__ = ["MAX_TOKENS", "TextTuning", "add_low_rank", "low_rank_state", "pool", "tune_text"]

MAX_TOKENS = 40
MAPS = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
COOLEST, WARMEST = 0.02, 0.2
_FRAMES = ("{A} {name}.", "{Name}\n{A} {name}.", "{name}")


@dataclass(frozen=True)
class TextTuning:
    """How long and how hard. An epoch reads `entries` of the lexicon; `keep` weighs the anchor, of which each
    batch reads `kept` sentences; a batch holds things of `clusters` k-means clusters."""

    epochs: int = 2
    entries: int = 3_600
    batch: int = 96
    clusters: int = 4
    kept: int = 24
    rank: int = 16
    layers: tuple[int, ...] = (2, 3, 4, 5)
    rate: float = 1e-3
    warm_up: int = 10
    temperature: float = 0.07
    keep: float = 1.0
    seed: int = 0


def tune_text(
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    lexicon: Sequence[Entry],
    sentences: Sequence[str],
    figure: Callable[[], float],
    tuning: TextTuning,
    progress: Callable[[str, int, int], None],
) -> Curve:
    """Train low-rank matrices that `add_low_rank` has put into `encoder`.

    Args:
        encoder: changed in place. tokenizer: with truncation and padding.
        lexicon: what it is trained on.
        sentences: what is to stay where the encoder has it at the start.
        figure: validation figure, asked after every epoch.
        tuning: see `TextTuning`.
        progress: called with (what, done, of how many).
    """
    torch.manual_seed(tuning.seed)
    rng = np.random.default_rng(tuning.seed)
    own = pool(encoder, tokenizer, sentences)
    trained = [value for value in encoder.parameters() if value.requires_grad]
    sharpness = nn.Parameter(torch.tensor(-math.log(tuning.temperature)))
    optimiser = torch.optim.AdamW(
        [{"params": trained, "lr": tuning.rate}, {"params": [sharpness], "lr": 1e-2, "weight_decay": 0.0}],
        weight_decay=1e-2,
    )
    count = min(tuning.entries, len(lexicon)) // tuning.batch
    steps = tuning.epochs * count

    def pace(step: int) -> float:
        return min((step + 1) / tuning.warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    curve: Curve = [(0, None, figure())]
    step, losses = 0, []
    for _ in range(tuning.epochs):
        drawn = [lexicon[row] for row in rng.permutation(len(lexicon))[: count * tuning.batch]]
        names = pool(encoder, tokenizer, [(entry.told or entry.synonyms)[0][0] for entry in drawn])
        for rows in _batches(names.numpy(), tuning, rng):
            entries = [drawn[row] for row in rows]
            asked, found = _texts(entries, rng)
            taken = torch.from_numpy(rng.choice(len(sentences), min(tuning.kept, len(sentences)), False))
            with torch.autocast("cpu", torch.bfloat16):
                a, b, c = (
                    normalize(_read(encoder, tokenizer, texts).float(), dim=1)
                    for texts in (asked, found, [sentences[row] for row in taken.tolist()])
                )
            scores = (a @ b.T) * sharpness.exp().clamp(1 / WARMEST, 1 / COOLEST)
            scores = scores.masked_fill(_no_negatives(entries), -1e4)
            target = torch.arange(len(entries))
            loss = (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2
            moved = (1 - (c * own[taken]).sum(dim=1)).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss + tuning.keep * moved)
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            schedule.step()
            step += 1
            losses.append(float(loss.detach()))
            progress("fine-tuning", step, steps)
        curve.append((step, float(np.mean(losses[-count:])), figure()))
    return curve


def add_low_rank(encoder: TextEncoder, tuning: TextTuning) -> None:
    """Put matrices that change nothing yet beside the maps of `tuning.layers`; only they are trainable."""
    torch.manual_seed(tuning.seed)
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=2 * tuning.rank,
        target_modules=MAPS,
        layers_to_transform=list(tuning.layers),
        layers_pattern="layer",
    )
    inject_adapter_in_model(config, encoder.bert)


def low_rank_state(encoder: TextEncoder, share: float, tuning: TextTuning) -> dict[str, torch.Tensor]:
    """What `export.lowrank` reads, FP16: the scale and `share` of the way are multiplied into B."""
    # peft's scale is alpha over rank: 2
    found: dict[str, Any] = get_peft_model_state_dict(encoder.bert)
    return {
        name: (value.detach() * (2 * share if name.endswith(UP) else 1)).half().contiguous()
        for name, value in found.items()
    }


def pool(encoder: TextEncoder, tokenizer: Tokenizer, texts: Sequence[str], batch: int = 64) -> torch.Tensor:
    """Unit-norm FP32 [n, 384]; short texts together."""
    out = torch.zeros(len(texts), encoder.bert.config.hidden_size)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            out[rows] = normalize(_read(encoder, tokenizer, [texts[row] for row in rows]), dim=1)
    return out.clone()


def _read(encoder: TextEncoder, tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    encoded = tokenizer.encode_batch(list(texts))
    ids = torch.tensor([item.ids for item in encoded])
    mask = torch.tensor([item.attention_mask for item in encoded])
    pooled: torch.Tensor = encoder(ids, mask)
    return pooled


def _batches(
    names: npt.NDArray[np.float32], tuning: TextTuning, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Rows [batches, batch]: each of a few runs through neighbouring clusters."""
    part = tuning.batch // tuning.clusters
    _, label = kmeans2(names, max(len(names) // (2 * part), 1), iter=8, minit="points", rng=rng)
    order = np.lexsort((rng.random(len(names)), label))
    runs = order[: len(order) // tuning.batch * tuning.batch].reshape(-1, part)
    return runs[rng.permutation(len(runs))].reshape(-1, part * tuning.clusters)


def _texts(entries: Sequence[Entry], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """A name and other words for each, in one frame for the whole batch, so that no frame gives a pair
    away."""
    asked, found = [], []
    frame = _FRAMES[int(rng.integers(len(_FRAMES)))]
    for entry in entries:
        synonym = bool(entry.synonyms) and (not entry.told or rng.random() < 0.5)
        pairs = entry.synonyms if synonym else entry.told
        name, other = pairs[int(rng.integers(len(pairs)))]
        asked.append(_framed(frame, name))
        found.append(_framed(_FRAMES[0], other))
    return asked, found


def _framed(frame: str, name: str) -> str:
    article = "An" if name[0].lower() in "aeiou" else "A"
    return frame.format(A=article, name=name, Name=name[0].upper() + name[1:])


def _no_negatives(entries: Sequence[Entry]) -> torch.Tensor:
    """bool [n, n]: pairs of different rows that may mean the same."""
    return torch.tensor(
        [[a is not b and (a.offset == b.offset or a.may_be(b)) for b in entries] for a in entries]
    )
