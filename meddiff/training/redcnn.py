"""How RED-CNN learns: the squared error of axial patches (Chen et al. 2017)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from meddiff.config import RedCnnConfig, Window
from meddiff.model.redcnn import RedCNN
from meddiff.training.slice_learner import Learner, Scan, adam, descend


class RedCnnLearner(Learner[RedCnnConfig]):
    """Adam with a rate that falls.

    Choice: weights begin as PyTorch's do, which needs no tuning for other widths; there they begin as Gaussian noise.
    """

    def __init__(self, scans: Sequence[Scan], window: Window, recipe: RedCnnConfig, device: torch.device) -> None:
        network = RedCNN(window, recipe.width).to(device)
        super().__init__(network, adam(network), scans, recipe)

    def learn(self, step: int, rng: np.random.Generator) -> float:
        noisy, clean = self.draw_pairs(rng)
        loss = F.mse_loss(self.network(noisy), clean)
        descend(self.optimizer, loss, self.rate(step))
        return loss.item() ** 0.5

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: from the first one's to the last one's by the same factor each time."""
        share = step / max(1, self.recipe.steps - 1)
        return self.recipe.learning_rate * (self.recipe.final_learning_rate / self.recipe.learning_rate) ** share
