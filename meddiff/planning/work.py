"""How much work the jobs of a rule are, and how fast such work was measured to be; what a run leaves on the disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from meddiff.config import ORIGINS, Config, Region
from meddiff.diffusion.levels import planned_costs, tflop_of
from meddiff.planning.scans import Scans


class Rate(NamedTuple):
    """What one core or one GPU was measured to do in a second."""

    value: float
    unit: str
    hardware: str


RESAMPLING = Rate(10, "Mvox/s", "a core of a Xeon with AMX")
STORING = Rate(9, "Mvox/s", "a core of a Xeon with AMX")
TRAINING = Rate(158, "TFLOP/s", "an H200, the paper's model")
SAMPLING = Rate(140, "TFLOP/s", "an H200, the paper's model")
# Millions of voxels of 1 mm of a whole scan, and of a region cut out of it, about as the demo's.
SCAN_MVOX = {Region.HAN: 40.0, Region.CHEST: 35.0, Region.ABDOMEN: 40.0, Region.WHOLE_BODY: 120.0}
REGION_MVOX = 40.0
BYTES_PER_VOXEL = {"resampled scans": 1.0, "anatomy": 0.02, "crop store": 0.5}  # measured on the demo's at 1 mm
STEP_PASSES = 3  # forward, and backward twice that
CONTROLLED = 1.5  # a ControlNet is the encoder's half of a network more
STATES_PER_CHECKPOINT = 4  # weights, their average and Adam's two moments, float32


@dataclass(frozen=True)
class Work:
    """What a configuration makes of its scans."""

    config: Config
    scans: Sequence[Scans]

    def disk_gb(self) -> dict[str, float]:
        """Return what a whole run leaves on the disk, by what it is, as far as it was measured."""
        models = len(self.config.models)
        trained = models + len(ORIGINS) * sum(bool(each.dataset.lesion) for each in self.scans) + 1
        states = trained * (1 + self.config.machine.keep_checkpoints * STATES_PER_CHECKPOINT)
        synthetic_mvox = models * self.regions("test") * self._at_spacing(REGION_MVOX)
        return {name: self.scan_mvox * per_voxel / 1e3 for name, per_voxel in BYTES_PER_VOXEL.items()} | {
            "synthetic scans": synthetic_mvox * BYTES_PER_VOXEL["resampled scans"] / 1e3,
            "models and checkpoints": states * CONTROLLED * self._network[0] * 4 / 1e9,
        }

    @property
    def scan_mvox(self) -> float:
        """Millions of voxels of all scans."""
        return self._at_spacing(sum(sum(s.by_split.values()) * SCAN_MVOX[s.dataset.region] for s in self.scans))

    def regions(self, split: str) -> int:
        """Return how many regions the datasets have that models are pretrained on."""
        return sum(each.regions(split) for each in self.scans if each.dataset.role == "pretraining")

    def training(self, steps: int, network: float = 1) -> float:
        """Return the TFLOP of a training of something so many times a network."""
        return steps * self.config.training.samples_per_step * STEP_PASSES * network * self._network[1]

    def sampling(self, regions: float) -> float:
        """Return the TFLOP of some volumes of a region's size, which count as cubes."""
        sampling, patch_vox = self.config.sampling, self.config.model.patch_vox
        edge_vox = max(patch_vox, round((1e6 * self._at_spacing(REGION_MVOX)) ** (1 / 3)))
        network = self.config.network(self.config.models[0].name)
        costs = planned_costs(sampling, self.config.diffusion.prediction, (edge_vox,) * 3, network)
        return regions * tflop_of(costs, network)

    @cached_property
    def _network(self) -> tuple[int, float]:
        """Parameters of the first model, and TFLOP of its forward pass of one patch."""
        from meddiff.model.info import parts

        found = parts(self.config.network(self.config.models[0].name))
        return sum(part.parameters for part in found), sum(part.flops for part in found) / 1e12

    def _at_spacing(self, mvox_of_1_mm: float) -> float:
        return mvox_of_1_mm / self.config.data.spacing_mm**3


# What one job of a rule is, in Mvox or TFLOP.
JOBS: dict[str, tuple[Callable[[Work], float], Rate]] = {
    "resample": (lambda work: work.scan_mvox / work.config.machine.data_shards, RESAMPLING),
    "store": (lambda work: work.scan_mvox / work.config.machine.data_shards, STORING),
    "pretrain": (lambda work: work.training(work.config.training.steps_for(work.regions("train"))), TRAINING),
    "finetune_lesions": (lambda work: work.training(work.config.finetuning.steps, CONTROLLED), TRAINING),
    "finetune_super_resolution": (lambda work: work.training(work.config.finetuning.steps, CONTROLLED), TRAINING),
    "synthesize": (lambda work: work.sampling(work.regions("test") / work.config.machine.sampling_shards), SAMPLING),
}
