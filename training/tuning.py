"""Fine-tuning of the image encoder's last blocks towards the text space.

The texts are fixed (locked-image tuning the other way round, Zhai et al. 2022, arXiv:2111.07991), so the
contrastive loss runs against every name there is at once: negatives are all of them, the hardest included,
in batches that two cores can carry. In the other direction a name looks for its picture in the batch
(together the symmetric InfoNCE of van den Oord et al. 2018, arXiv:1807.03748). Distillation (Hinton et al.
2015, arXiv:1503.02531; learning without forgetting, Li and Hoiem 2016, arXiv:1606.09282) holds the ImageNet
classes where they were, as class words name pictures. What block FIRST_TUNED reads is mixed between two
pictures of a batch, and with it what they are called (manifold mixup, Verma et al. 2019, arXiv:1806.05236):
without it two epochs learn the drawings by heart. Batch norms keep their running statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, kl_div, log_softmax, normalize, softmax

from export.adapters import ImageHead
from export.efficientnet import FIRST_TUNED, EfficientNetLite2, tuned_names
from training.contrastive import Curve
from training.tuning_data import Views

__all__ = ["Tuning", "fine_tune"]


@dataclass(frozen=True)
class Tuning:
    """How long and how hard. `keep` weighs the distillation; at temperature `soft` names that mean nearly the
    same share a picture. `mixup` is both parameters of the beta distribution that shares are drawn from."""

    epochs: int = 4
    batch: int = 48
    rate: float = 3e-4
    head_rate: float = 3e-4
    warm_up: int = 50
    temperature: float = 0.07
    soft: float = 0.05
    keep: float = 1.0
    dropout: float = 0.2
    mixup: float = 1.0
    ridge: float = 3_000.0
    seed: int = 0


def fine_tune(
    network: EfficientNetLite2,
    views: Views,
    prototypes: torch.Tensor,
    figure: Callable[[nn.Linear], float],
    tuning: Tuning,
    progress: Callable[[str, int, int], None],
) -> Curve:
    """Train blocks FIRST_TUNED.. of `network` in place, the classifier aside.

    Args:
        network: the published one, in evaluation mode.
        views: what it is trained on.
        prototypes: [1000, 384] unit norm, the classes' words.
        figure: validation figure given the map from features to texts; asked after every epoch.
        tuning: see `Tuning`.
        progress: called with (what, done, of how many).
    """
    torch.manual_seed(tuning.seed)
    rng = np.random.default_rng(tuning.seed)
    names = sorted(set(views.meaning))
    place = {name: row for row, name in enumerate(names)}
    own = torch.tensor([place[name] for name in views.meaning])
    bank = torch.zeros(len(names), views.text.shape[1]).index_add_(0, own, torch.from_numpy(views.text))
    bank = normalize(bank, dim=1)
    texts = torch.from_numpy(views.text)
    words = ImageHead()
    words.prototypes.copy_(prototypes)
    words.temperature.fill_(1.0)

    tunable = set(tuned_names(network))
    tuned = [value for name, value in network.named_parameters() if name in tunable]
    for value in network.parameters():
        value.requires_grad_(False)
    for value in tuned:
        value.requires_grad_(True)
    outer, mean, centre = _first_map(network, views, texts, words, tuning)
    groups = [
        {"params": tuned, "lr": tuning.rate},
        {"params": list(outer.parameters()), "lr": tuning.head_rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    batches = len(texts) // tuning.batch
    steps = tuning.epochs * batches

    def pace(step: int) -> float:
        return min((step + 1) / tuning.warm_up, 0.5 * (1 + float(np.cos(np.pi * step / steps))) + 0.01)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, pace)
    curve: Curve = [(0, None, figure(outer))]
    step, losses = 0, []
    for _ in range(tuning.epochs):
        order = rng.permutation(len(texts))
        for start in range(0, batches * tuning.batch, tuning.batch):
            taken = np.sort(order[start : start + tuning.batch])
            view = rng.integers(0, views.front.shape[1], len(taken))
            front = torch.from_numpy(views.front[taken, view]).float()
            was = softmax(torch.from_numpy(views.logits[taken, view]).float(), dim=1)
            rows = torch.from_numpy(taken)
            share = float(rng.beta(tuning.mixup, tuning.mixup))
            share = max(share, 1 - share)
            partner = torch.from_numpy(rng.permutation(len(rows)))
            front = share * front + (1 - share) * front[partner]
            was = share * was + (1 - share) * was[partner]
            features, logits = network.back(front.contiguous(memory_format=torch.channels_last), FIRST_TUNED)
            mapped = normalize(outer(dropout(features - mean, tuning.dropout)), dim=1)
            named = normalize(words.words(logits) - centre, dim=1)
            both = normalize(mapped + named, dim=1)
            target = softmax(texts[rows] @ bank.T / tuning.soft, dim=1)
            target = share * target + (1 - share) * target[partner]
            loss = torch.zeros(())
            for seen in (mapped, both):
                loss = loss + cross_entropy(seen @ bank.T / tuning.temperature, target) / 2
                loss = loss + _find(seen, texts[rows], own[rows], tuning.temperature) / 2
            forgot = kl_div(log_softmax(logits, dim=1), was, reduction="batchmean")
            optimiser.zero_grad()
            torch.autograd.backward(loss + tuning.keep * forgot)
            nn.utils.clip_grad_norm_(tuned, 1.0)
            optimiser.step()
            schedule.step()
            step += 1
            losses.append(float(loss.detach()))
            progress("fine-tuning", step, steps)
        curve.append((step, float(np.mean(losses[-batches:])), figure(outer)))
    return curve


def _find(seen: torch.Tensor, texts: torch.Tensor, own: torch.Tensor, temperature: float) -> torch.Tensor:
    """Names look for their pictures in the batch; another picture of the same name is no negative."""
    scores = texts @ seen.T / temperature
    same = (own[:, None] == own[None, :]) & ~torch.eye(len(own), dtype=torch.bool)
    return cross_entropy(scores.masked_fill(same, -1e4), torch.arange(len(own)))


def _first_map(
    network: EfficientNetLite2, views: Views, texts: torch.Tensor, words: ImageHead, tuning: Tuning
) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    """Ridge map of the frozen features to the texts, their mean [1280], and the words' centre [384]."""
    features, named = [], []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            front = torch.from_numpy(views.front[start : start + 64, 0]).float()
            found, logits = network.back(front.contiguous(memory_format=torch.channels_last), FIRST_TUNED)
            features.append(found)
            named.append(words.words(logits))
    x = torch.cat(features).clone()
    mean, scale = x.mean(dim=0), 1 / (x.std(dim=0) + 0.05)
    z = ((x - mean) * scale).double()
    gram = z.T @ z + tuning.ridge * torch.eye(z.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(gram, z.T @ texts.double()).float()
    outer = nn.Linear(x.shape[1], texts.shape[1])
    with torch.no_grad():
        outer.weight.copy_((solved * scale[:, None]).T)
        outer.bias.zero_()
    return outer, mean, torch.cat(named).mean(dim=0).clone()
