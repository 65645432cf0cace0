"""How a denoiser of axial slices learns: patches out of scans of any sizes, and one optimizer step after the other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from meddiff.config import DenoiserRecipe
from meddiff.model.slice_denoiser import SliceDenoiser

Scan = tuple[np.ndarray, ...]  # a noisy scan and, for supervised methods, the clean one on its grid: `zyx`, HU
Box = tuple[slice, slice, slice]
NOISY, CLEAN = 0, 1  # places in a `Scan`
Recipe = TypeVar("Recipe", bound=DenoiserRecipe)


class Learner(ABC, Generic[Recipe]):
    """A network and all else that its training changes.

    Args:
        network: to train.
        optimizer: of the network.
        scans: to learn from.
        recipe: the numbers of the training.
    """

    supervised: ClassVar[bool] = True

    def __init__(self, network: SliceDenoiser, optimizer: Optimizer, scans: Sequence[Scan], recipe: Recipe) -> None:
        self.network, self.optimizer, self.scans, self.recipe = network, optimizer, scans, recipe
        self.states: dict[str, nn.Module | Optimizer] = {"network": network, "optimizer": optimizer}

    @abstractmethod
    def learn(self, step: int, rng: np.random.Generator) -> float:
        """Do one optimizer step, and return the error of its patches as a share of the window.

        Args:
            step: its number, from 0.
            rng: where all draws of the step come from.
        """

    @property
    def patch_yx(self) -> tuple[int, int]:
        """The size of all patches; where slices are smaller than `patch_vox`, that of the smallest."""
        y, x = np.minimum(self.recipe.patch_vox, np.min([scan[NOISY].shape[1:] for scan in self.scans], 0)).tolist()
        return y, x

    def draw_boxes(self, rng: np.random.Generator) -> list[tuple[int, Box]]:
        """Return a scan's number and a box of one slice for each patch of a batch.

        A scan is drawn as often as its voxels are many.
        """
        sizes = np.array([scan[NOISY].size for scan in self.scans])
        edges = (1, *self.patch_yx)
        boxes = []
        for number in rng.choice(len(self.scans), self.recipe.batch_size, p=sizes / sizes.sum()):
            starts = rng.integers(0, np.subtract(self.scans[number][NOISY].shape, edges) + 1)
            boxes.append((number, tuple(slice(a, a + n) for a, n in zip(starts, edges, strict=True))))
        return boxes

    def draw_pairs(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a batch of noisy patches and one of clean ones, (B, 1, Y, X), in [0, 1]."""
        boxes = self.draw_boxes(rng)
        return self.patches(NOISY, boxes), self.patches(CLEAN, boxes)

    def patches(self, which: int, boxes: list[tuple[int, Box]]) -> Tensor:
        """Return the patches of the noisy or the clean scans as the network sees them."""
        device = next(self.network.parameters()).device
        return self.network.scale(np.stack([self.scans[number][which][box] for number, box in boxes])).to(device)


def descend(optimizer: Optimizer, loss: Tensor, rate: float) -> None:
    """Do one step of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def adam(network: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> Optimizer:
    """Return Adam for a network; `descend` gives it the learning rate."""
    return torch.optim.Adam(network.parameters(), betas=betas)
