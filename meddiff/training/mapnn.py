"""How MAP-NN learns: squared errors of patches and of their edges, and a critic (Shan et al. 2019)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import MapNnConfig, Window
from meddiff.model.mapnn import Critic, MapNN
from meddiff.training.slice_learner import Learner, Scan, adam, descend

EPOCHS = 80  # equal parts of the training, of one learning rate each
PENALTY_WEIGHT = 10.0  # of the critic's gradient (Gulrajani et al. 2017)


class MapNnLearner(Learner[MapNnConfig]):
    """A Wasserstein critic with a gradient penalty, some of whose steps go before each one of the network.

    Choice: the norm of the critic's gradient is that of a whole patch (Gulrajani et al. 2017); the published code sums
    along one of its axes.
    """

    def __init__(self, scans: Sequence[Scan], window: Window, recipe: MapNnConfig, device: torch.device) -> None:
        network = MapNN(window, recipe.width, recipe.depth).to(device)
        super().__init__(network, adam(network), scans, recipe)
        self.critic = Critic(self.patch_yx, recipe.critic_width).to(device)
        self.critic_optimizer = adam(self.critic)
        self.states |= {"critic": self.critic, "critic_optimizer": self.critic_optimizer}

    def learn(self, step: int, rng: np.random.Generator) -> float:
        rate = self.recipe.learning_rate / math.sqrt(1 + EPOCHS * step // self.recipe.steps)
        for _ in range(self.recipe.critic_steps):
            descend(self.critic_optimizer, self._critic_loss(rng), rate)
        noisy, clean = self.draw_pairs(rng)
        denoised = self.network(noisy)
        error = F.mse_loss(denoised, clean)
        loss = self.recipe.error_weight * error - self.critic(denoised).mean()
        loss = loss + self.recipe.edge_weight * F.mse_loss(sobel(denoised), sobel(clean))
        descend(self.optimizer, loss, rate)
        return error.item() ** 0.5

    def _critic_loss(self, rng: np.random.Generator) -> Tensor:
        noisy, clean = self.draw_pairs(rng)
        with torch.no_grad():
            denoised = self.network(noisy)
        share = torch.from_numpy(rng.random((len(noisy), 1, 1, 1), np.float32)).to(noisy.device)
        between = (share * clean + (1 - share) * denoised).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return self.critic(denoised).mean() - self.critic(clean).mean() + PENALTY_WEIGHT * penalty


def sobel(x_BCYX: Tensor) -> Tensor:
    """Return the slopes along y and x of images of one channel, (B, 2, Y, X), by Sobel's filters."""
    along_x = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=x_BCYX.device)
    kernels = torch.stack((along_x.T, along_x))[:, None]
    return F.conv2d(F.pad(x_BCYX, (1, 1, 1, 1), mode="reflect"), kernels)
