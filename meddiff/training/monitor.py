"""Watching a training run: validation loss by region and level, and sample images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from meddiff.data.patches import LEVELS, Sample, collate, draw
from meddiff.data.store import Record
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.solvers import make_solver
from meddiff.seeds import seed_from
from meddiff.training.objective import Noising, Objective

SAMPLE_STEPS = 20


@dataclass(frozen=True)
class Monitor:
    """Fixed patches of held-out records, each with a fixed timestep and fixed noise.

    Args:
        records: the validation split.
        patch_vox: edge of the patch.
        patches: how many of each region and level.
        seed: decides places and noise.
        device: where the network lives.
    """

    records: list[Record]
    patch_vox: int
    patches: int
    seed: int
    device: torch.device

    @torch.no_grad()
    def losses(self, network: nn.Module, schedule: Schedule, prediction: str) -> dict[str, float]:
        """Return the mean L1 loss over T, by `region/level`; regions without a record are left out."""
        objective = Objective(network, schedule, prediction).eval()
        found = {}
        for region, records in self._by_region().items():
            for level in LEVELS:
                losses = [self._loss(objective, records, level, number) for number in range(self.patches)]
                found[f"{region}/{level}"] = sum(losses) / len(losses)
        return found

    @torch.no_grad()
    def pictures(self, network: nn.Module, schedule: Schedule, prediction: str) -> dict[str, Tensor]:
        """Return a drawn whole region (image level) beside the real one, the middle axial planes, in [0, 1]."""
        found = {}
        for region, (record, *_) in self._by_region().items():
            batch = self._batch(record, "image", 0)
            drawn = self._sample(network.eval(), batch, schedule, prediction)
            planes = torch.cat((batch.image, drawn), dim=4)[0, 0, self.patch_vox // 2]
            found[region] = (planes.cpu() + 1) / 2
        return found

    def _by_region(self) -> dict[str, list[Record]]:
        regions = {record.meta.region for record in self.records}
        return {region.value: [r for r in self.records if r.meta.region == region] for region in sorted(regions)}

    def _loss(self, objective: Objective, records: list[Record], level: str, number: int) -> float:
        batch = self._batch(records[number % len(records)], level, number)
        timesteps = objective.schedule.timesteps
        noising = Noising.draw(batch, timesteps, seed_from(self.seed, number))
        t = int((number + 0.5) / self.patches * timesteps)
        return float(objective(batch, noising._replace(t_B=torch.full_like(noising.t_B, t))))

    def _batch(self, record: Record, level: str, number: int) -> Sample:
        rng = np.random.default_rng((self.seed, number))
        return collate([draw(record, level, self.patch_vox, rng)]).to(self.device)

    def _sample(self, network: nn.Module, batch: Sample, schedule: Schedule, prediction: str) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(self.seed)
        x = torch.randn(batch.image.shape, generator=generator, device=self.device)
        condition = network.encode_condition(batch.anatomy, batch.coordinates)  # type: ignore[operator]
        solver = make_solver("ddim", SAMPLE_STEPS, schedule.timesteps)
        for t in solver.timesteps:
            t_B = torch.full((1,), int(t), device=self.device)
            estimate = network(x, t_B, batch.region, condition)
            x = solver.step(schedule.to_x0(prediction, estimate, x, t_B).clamp(-1, 1), t, x).prev_sample
        return x.clamp(-1, 1)
