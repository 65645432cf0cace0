"""Training of RED-CNN on pairs of a noisy and a clean scan (Chen et al. 2017)."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import RedCnnConfig, Window
from meddiff.machine.files import digest
from meddiff.machine.progress import Progress
from meddiff.machine.seeds import seed_from
from meddiff.model.redcnn import RedCNN, read_facts

log = logging.getLogger(__name__)

Pair = tuple[np.ndarray, np.ndarray]  # a noisy and a clean scan on one grid, `zyx`, HU


def train_redcnn(
    pairs: Sequence[Pair], window: Window, recipe: RedCnnConfig, seed: int, device: torch.device, out: Path
) -> RedCNN:
    """Return a RED-CNN that makes the clean scans of the noisy ones, and write it; a finished one is only read.

    The loss is the mean squared error of axial patches, the optimizer Adam with a rate that falls (Chen et al. 2017).
    Choice: weights begin as PyTorch's do, which needs no tuning for other widths; there they begin as Gaussian noise.

    Args:
        pairs: scans to learn from.
        window: HU that the network sees.
        recipe: sizes, steps and learning rates.
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
    decay = (recipe.final_learning_rate / recipe.learning_rate) ** (1 / max(1, recipe.steps - 1))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    progress = Progress("train red-cnn", recipe.steps, every_seconds=10)
    for step in range(recipe.steps):
        noisy, clean = (hu.to(device) for hu in _draw(pairs, network, recipe, seed_from(seed, step)))
        loss = F.mse_loss(network(noisy), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.step(f"error {loss.item() ** 0.5 * window.width_hu:.1f} HU")
    network.save(out, identity)
    return network.eval()


def _draw(pairs: Sequence[Pair], network: RedCNN, recipe: RedCnnConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return a batch of noisy patches and one of clean ones, (B, 1, Y, X), each of a scan of its own.

    A scan is drawn as often as its voxels are many. Patches of a batch have one size; scans with smaller slices than a
    patch make all patches smaller.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([noisy.size for noisy, _ in pairs])
    edges = (1, *np.minimum(recipe.patch_vox, np.min([noisy.shape[1:] for noisy, _ in pairs], axis=0)).tolist())
    noisy, clean = [], []
    for number in rng.choice(len(pairs), recipe.batch_size, p=sizes / sizes.sum()):
        starts = rng.integers(0, np.subtract(pairs[number][0].shape, edges) + 1)
        box = tuple(slice(a, a + n) for a, n in zip(starts, edges, strict=True))
        noisy.append(pairs[number][0][box])
        clean.append(pairs[number][1][box])
    return network.scale(np.stack(noisy)), network.scale(np.stack(clean))


def _identity(pairs: Sequence[Pair], window: Window, recipe: RedCnnConfig, seed: int) -> str:
    data = [hashlib.sha256(hu_zyx.tobytes()).hexdigest() for pair in pairs for hu_zyx in pair]
    return digest([data, window.model_dump(), recipe.model_dump(), seed])
