"""Training of RED-CNN on pairs of a noisy and a clean scan (Chen et al. 2017)."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import Window
from meddiff.files import digest
from meddiff.model.redcnn import RedCNN, read_facts
from meddiff.progress import Progress
from meddiff.seeds import seed_from

log = logging.getLogger(__name__)

Pair = tuple[np.ndarray, np.ndarray]  # a noisy and a clean scan on one grid, `zyx`, HU


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults take minutes on a CPU.

    Args:
        width: channels [paper: 96; Choice].
        steps: optimizer steps [Choice].
        batch_size: patches per step [Choice].
        patch_vox: edge of the square patches, 21 at least; smaller slices are taken whole [paper: 55].
        learning_rate: Adam's [paper: 1e-4, for far more steps; Choice].
    """

    width: int = 16
    steps: int = 1000
    batch_size: int = 8
    patch_vox: int = 55
    learning_rate: float = 1e-3


def train_redcnn(
    pairs: Sequence[Pair], window: Window, recipe: Recipe, seed: int, device: torch.device, out: Path
) -> RedCNN:
    """Return a RED-CNN that makes the clean scans of the noisy ones, and write it; a finished one is only read.

    The loss is the mean squared error of axial patches, the optimizer Adam [paper].

    Args:
        pairs: scans to learn from.
        window: HU that the network sees.
        recipe: sizes and steps.
        seed: of the weights and the patches; on a CPU it decides the result to the bit.
        device: where to train.
        out: the file of the weights.
    """
    identity = _identity(pairs, window, recipe, seed)
    if out.exists() and read_facts(out)["identity"] == identity:
        log.info("red-cnn: trained before, in %s", out.name)
        return RedCNN.load(out, device)
    torch.manual_seed(seed)
    network = RedCNN(window, recipe.width).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    progress = Progress("train red-cnn", recipe.steps, every_seconds=10)
    for step in range(recipe.steps):
        noisy, clean = (hu.to(device) for hu in _draw(pairs, network, recipe, seed_from(seed, step)))
        loss = F.mse_loss(network(noisy), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress.step(f"error {loss.item() ** 0.5 * window.width_hu:.1f} HU")
    network.save(out, identity)
    return network.eval()


def _draw(pairs: Sequence[Pair], network: RedCNN, recipe: Recipe, seed: int) -> tuple[Tensor, Tensor]:
    """Return a batch of noisy patches and one of clean ones, (B, 1, Y, X), of one scan, as batches need one size."""
    rng = np.random.default_rng(seed)
    sizes = np.array([noisy.size for noisy, _ in pairs])
    pair = pairs[rng.choice(len(pairs), p=sizes / sizes.sum())]
    shape = pair[0].shape
    edges = (1, *(min(recipe.patch_vox, n) for n in shape[1:]))
    starts = rng.integers(0, np.subtract(shape, edges) + 1, (recipe.batch_size, 3))
    boxes = [tuple(slice(a, a + n) for a, n in zip(start, edges, strict=True)) for start in starts]
    noisy, clean = (network.scale(np.stack([hu_zyx[box] for box in boxes])) for hu_zyx in pair)
    return noisy, clean


def _identity(pairs: Sequence[Pair], window: Window, recipe: Recipe, seed: int) -> str:
    data = [hashlib.sha256(hu_zyx.tobytes()).hexdigest() for pair in pairs for hu_zyx in pair]
    return digest([data, window.model_dump(), asdict(recipe), seed])
