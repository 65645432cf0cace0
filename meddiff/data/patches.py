"""Drawing multi-level inputs (section 3.2): whole region, double crop or crop, all at the patch size.

A sample is a pure function of the seed and its number, so the order is the same with any number of workers and
after any stop.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from meddiff.config import MODEL_REGIONS, LevelWeights
from meddiff.data.store import Record
from meddiff.data.windows import normalise
from meddiff.model.position import patch_coordinates

LEVELS = ("image", "double", "patch")
OUTSIDE_SCALED = -1.0  # air, the lower end of every window


@dataclass(frozen=True)
class Sample:
    """One network input; `image` in [-1, 1] (1, P, P, P), `anatomy` uint8 (P, P, P), `coordinates` (3, P, P, P)."""

    image: Tensor
    anatomy: Tensor
    coordinates: Tensor
    region: int
    level: int
    record: int

    def to(self, device: torch.device) -> "Sample":
        """Return collated samples on a device."""
        return Sample(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


class PatchDataset(Dataset):
    """Samples number 0 to `length` - 1 of the stored regions.

    Args:
        folders: record folders.
        levels: how often each level is drawn.
        patch_vox: edge of the patch.
        seed: with the sample's number it decides record, level and place.
        length: how many samples there are.
    """

    def __init__(self, folders: list[Path], levels: LevelWeights, patch_vox: int, seed: int, length: int) -> None:
        self.records = [Record(folder) for folder in folders]
        weights = np.array([levels.image, levels.double, levels.patch])
        self._level_shares = weights / weights.sum()
        self._patch_vox, self._seed, self._length = patch_vox, seed, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Sample:
        rng = np.random.default_rng((self._seed, number))
        index = int(rng.integers(len(self.records)))
        level = int(rng.choice(len(LEVELS), p=self._level_shares))
        return draw(self.records[index], LEVELS[level], self._patch_vox, rng, index)


def draw(record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0) -> Sample:
    """Return one sample of a record at the given level, at a random place."""
    size = record.meta.size_zyx
    if level == "image":
        start, step = (0.0,) * 3, tuple(n / patch_vox for n in size)
        ct, anatomy = record.image_ct[:], record.image_anatomy[:]
        scaled, labels = _tensors(ct, anatomy, record)
    else:
        factor = 2 if level == "double" else 1
        crop_vox = factor * patch_vox
        corner = [int(rng.integers(min(0, n - crop_vox), max(0, n - crop_vox) + 1)) for n in size]
        start, step = tuple(map(float, corner)), (float(factor),) * 3
        scaled, labels = _crop(record, corner, crop_vox)
        if factor == 2:
            scaled = F.avg_pool3d(scaled[None], 2)[0]
            labels = labels[1::2, 1::2, 1::2].contiguous()
    coordinates = patch_coordinates(start, step, (patch_vox,) * 3, size)
    region = MODEL_REGIONS.index(record.meta.region)
    return Sample(scaled, labels, coordinates, region, LEVELS.index(level), index)


def collate(samples: list[Sample]) -> Sample:
    """Return the samples as one, tensors stacked and numbers as int64 tensors."""
    return Sample(
        torch.stack([s.image for s in samples]),
        torch.stack([s.anatomy for s in samples]),
        torch.stack([s.coordinates for s in samples]),
        *(torch.tensor([getattr(s, name) for s in samples]) for name in ("region", "level", "record")),  # type: ignore[arg-type]
    )


def _crop(record: Record, corner: list[int], crop_vox: int) -> tuple[Tensor, Tensor]:
    """Return the crop; where it reaches beyond the region it holds air, label 0."""
    inside = tuple(slice(max(0, c), min(n, c + crop_vox)) for c, n in zip(corner, record.meta.size_zyx, strict=True))
    scaled, labels = _tensors(record.ct[inside], record.anatomy[inside], record)
    before = [max(0, -c) for c in corner]
    padding = []
    for axis in (2, 1, 0):
        padding += [before[axis], crop_vox - before[axis] - labels.shape[axis]]
    if any(padding):
        scaled = F.pad(scaled, padding, value=OUTSIDE_SCALED)
        labels = F.pad(labels, padding, value=0)
    return scaled, labels


def _tensors(ct: np.ndarray, anatomy: np.ndarray, record: Record) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(normalise(ct, record.meta.window))[None], torch.from_numpy(np.ascontiguousarray(anatomy))
