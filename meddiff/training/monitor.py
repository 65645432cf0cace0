"""Watching a training run: validation loss by region and level, and sample images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from meddiff.config import Config
from meddiff.diffusion.solvers import make_solver
from meddiff.machine.seeds import seed_from
from meddiff.store.patches import LEVELS, Draw, Sample, collate, draw
from meddiff.store.record import Record
from meddiff.training.objective import Noising, Objective


@dataclass(frozen=True)
class Monitor:
    """Fixed patches of held-out records, each with a fixed timestep and fixed noise.

    Args:
        records: the validation split.
        patch_vox: edge of the patch.
        patches: how many of each region and level.
        seed: decides places and noise.
        device: where the network lives.
        drawer: makes a patch of a record.
        levels: those that are watched.
    """

    records: list[Record]
    patch_vox: int
    patches: int
    seed: int
    device: torch.device
    drawer: Draw = draw
    levels: tuple[str, ...] = LEVELS

    @classmethod
    def from_config(cls, records: list[Record], config: Config, device: torch.device) -> "Monitor | None":
        """Return the monitor of a pretraining as configured; None where nothing is held out."""
        if not records:
            return None
        return cls(records, config.model.patch_vox, config.machine.validation_patches, config.seed, device)

    @torch.no_grad()
    def losses(self, objective: Objective) -> dict[str, float]:
        """Return the mean L1 loss over T, by `region/level`; regions without a record are left out."""
        objective.eval()
        found = {}
        for region, records in self._by_region().items():
            for level in self.levels:
                losses = [self._loss(objective, records, level, number) for number in range(self.patches)]
                found[f"{region}/{level}"] = sum(losses) / len(losses)
        return found

    @torch.no_grad()
    def pictures(self, objective: Objective) -> dict[str, Tensor]:
        """Return a drawn patch of the first level beside the real one, the middle axial planes, in [0, 1]."""
        found = {}
        for region, (record, *_) in self._by_region().items():
            batch = self._batch(record, self.levels[0], 0)
            drawn = self._sample(objective.eval(), batch)
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
        return collate([self.drawer(record, level, self.patch_vox, rng)]).to(self.device)

    def _sample(self, objective: Objective, batch: Sample) -> Tensor:
        network, schedule = objective.whole, objective.schedule
        generator = torch.Generator(self.device).manual_seed(self.seed)
        x = torch.randn(batch.image.shape, generator=generator, device=self.device)
        condition = network.encode_condition(batch.anatomy, batch.coordinates, batch.target)  # type: ignore[operator]
        solver = make_solver(objective.solver, objective.sample_steps, schedule.timesteps, objective.spacing)
        for t in solver.timesteps:
            t_B = torch.full((1,), t, device=self.device)
            estimate = network(x, t_B, batch.region, condition)
            x0 = schedule.to_x0(objective.prediction, estimate, x, t_B).clamp(-1, 1)
            solver.step(x0, t, x)
        return x.clamp(-1, 1)
