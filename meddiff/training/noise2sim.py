"""How Noise2Sim learns from noisy scans alone: to guess a slice of its neighbour (Niu et al. 2022).

Neighbouring slices show nearly the same anatomy, and their noise is independent. What can be guessed of a slice is
therefore the anatomy alone.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import Noise2SimConfig, Window
from meddiff.model.noise2sim import Noise2Sim
from meddiff.training.slice_learner import NOISY, Learner, Scan, adam, descend

BETAS = (0.1, 0.99)  # of Adam
RISE, FALL = 0.1, 0.3  # shares of the steps


class Noise2SimLearner(Learner[Noise2SimConfig]):
    """The absolute error where slice and partner are alike; elsewhere nothing is learned."""

    supervised = False

    def __init__(self, scans: Sequence[Scan], window: Window, recipe: Noise2SimConfig, device: torch.device) -> None:
        network = Noise2Sim(window, recipe.width).to(device)
        super().__init__(network, adam(network, BETAS), scans, recipe)

    def learn(self, step: int, rng: np.random.Generator) -> float:
        noisy, partner = self.draw_similar(rng)
        alike = similar(noisy, partner, self.recipe.mean_vox, self.recipe.similar_hu / self.network.window.width_hu)
        loss = ((self.network(noisy) - partner).abs() * alike).mean()
        descend(self.optimizer, loss, self.recipe.learning_rate * ramp(step / self.recipe.steps))
        return loss.item()

    def draw_similar(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a batch of noisy patches and one of the same places in neighbouring slices, (B, 1, Y, X).

        Choice: a batch is turned and mirrored as a whole, so that patches need not be squares; there each by itself.
        """
        boxes, reach = self.draw_boxes(rng), self.recipe.neighbour_slices
        partners = []
        for number, (slices, y, x) in boxes:
            z = partner_slice(slices.start, len(self.scans[number][NOISY]), reach, rng)
            partners.append((number, (slice(z, z + 1), y, x)))
        turns, mirrored = rng.integers(4), rng.random() < 0.5
        batches = (torch.rot90(self.patches(NOISY, drawn), int(turns), (2, 3)) for drawn in (boxes, partners))
        noisy, partner = (batch.flip(3) if mirrored else batch for batch in batches)
        return noisy, partner


def partner_slice(z: int, slices: int, reach: int, rng: np.random.Generator) -> int:
    """Return the number of a slice at most `reach` from slice `z` of so many, at least 2, above or below it."""
    below, above = min(z, reach), min(slices - 1 - z, reach)
    if above and (not below or rng.random() < 0.5):
        return z + int(rng.integers(1, above + 1))
    return z - int(rng.integers(1, below + 1))


def similar(a_BCYX: Tensor, b_BCYX: Tensor, mean_vox: int, largest: float) -> Tensor:
    """Return where the means of two images around a pixel differ by at most `largest`: there they show the same."""
    difference = F.avg_pool2d(a_BCYX - b_BCYX, mean_vox, stride=1, padding=mean_vox // 2)
    return difference.abs() <= largest


def ramp(share: float) -> float:
    """Return the part of the learning rate that holds after a share of the steps."""
    if share <= RISE:
        return 0.5 - 0.5 * math.cos(math.pi * share / RISE)
    if share >= 1 - FALL:
        return (0.5 + 0.5 * math.cos(math.pi * (share - 1 + FALL) / FALL)) ** 2
    return 1.0
