"""Drawing multi-level inputs (section 3.2): whole region, double crop or crop, all at the patch size.

A sample is a pure function of the seed and its number, so the order is the same with any number of workers and
after any stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from meddiff.config import MODEL_REGIONS, LevelWeights
from meddiff.store.position import patch_coordinates
from meddiff.store.record import Record
from meddiff.volumes.hu import air_hu, normalise

LEVELS = ("image", "double", "patch")


@dataclass(frozen=True)
class Sample:
    """One network input; `image` in [-1, 1] (1, P, P, P), `anatomy` uint8 (P, P, P), `coordinates` (3, P, P, P).

    `target` is the target condition of a task (1, P, P, P); pretraining has none.
    """

    image: Tensor
    anatomy: Tensor
    coordinates: Tensor
    region: int
    level: int
    record: int
    target: Tensor | None = None

    @property
    def nbytes(self) -> int:
        tensors = (self.image, self.anatomy, self.coordinates, self.target)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def to(self, device: torch.device) -> "Sample":
        """Return collated samples on a device."""
        moved: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            moved[name] = None if value is None else value.to(device, non_blocking=True)
        return Sample(**moved)


@dataclass(frozen=True)
class Crop:
    """What a sample shows of a region: at a level the crop that begins at some voxels, `zyx`, as a patch.

    The level `image` shows the whole region, wherever the crop begins.
    """

    level: str
    patch_vox: int
    corner: Sequence[int] = (0, 0, 0)

    @property
    def edge_vox(self) -> int:
        """The edge of the crop that becomes a patch, at the levels `double` and `patch`."""
        return crop_size(self.level, self.patch_vox)


class Draw(Protocol):
    """Makes one sample of a record at a level; `index` is the record's number among those of the data set."""

    def __call__(
        self, record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0
    ) -> Sample: ...


def draw(record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0) -> Sample:
    """Return one sample of a record at the given level, at a random place."""
    return cut(record, Crop(level, patch_vox, random_corner(record.meta.size_zyx, level, patch_vox, rng)), index)


class PatchDataset(Dataset):
    """Samples number 0 to `length` - 1 of the stored regions; so many samples as there are regions are an epoch.

    Choice: an epoch takes each region once, in an order of its own, since 150 epochs drawn with replacement would take
    one region 110 times and another 190 times.

    Args:
        records: what is drawn from, each as often in an epoch.
        levels: how often each level is drawn.
        patch_vox: edge of the patch.
        seed: with the sample's number it decides record, level and place.
        length: how many samples there are.
        drawer: makes a sample of a record.
    """

    def __init__(
        self,
        records: Sequence[Record],
        levels: LevelWeights,
        patch_vox: int,
        seed: int,
        length: int,
        drawer: Draw = draw,
    ) -> None:
        self.records = list(records)
        weights = np.array([levels.image, levels.double, levels.patch])
        self._level_shares = weights / weights.sum()
        self._patch_vox, self._seed, self._length, self._draw = patch_vox, seed, length, drawer

    def __len__(self) -> int:
        return self._length

    def record_of(self, number: int) -> int:
        """Return the record of a sample."""
        epoch, place = divmod(number, len(self.records))
        return int(_order(self._seed, epoch, len(self.records))[place])

    def __getitem__(self, number: int) -> Sample:
        rng = np.random.default_rng((self._seed, number))
        index = self.record_of(number)
        level = int(rng.choice(len(LEVELS), p=self._level_shares))
        return self._draw(self.records[index], LEVELS[level], self._patch_vox, rng, index)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, regions: int) -> np.ndarray:
    """Return the order of the regions in an epoch; two epochs meet in a batch at most."""
    return np.random.default_rng((seed, epoch, 1)).permutation(regions)


def crop_size(level: str, patch_vox: int) -> int:
    """Return the edge of the crop that becomes a patch, at the levels `double` and `patch`."""
    return 2 * patch_vox if level == "double" else patch_vox


def random_corner(size_zyx: Sequence[int], level: str, patch_vox: int, rng: np.random.Generator) -> list[int]:
    """Return the first voxels of a random crop of a region; a crop that is larger than the region reaches beyond it.

    The level `image` is the whole region and has no crop, and nothing is drawn for it.
    """
    if level == "image":
        return [0, 0, 0]
    room = [n - crop_size(level, patch_vox) for n in size_zyx]
    return [int(rng.integers(min(0, r), max(0, r) + 1)) for r in room]


def cut(record: Record, crop: Crop, index: int = 0, target: Tensor | None = None) -> Sample:
    """Return the sample of a crop of a record; `index` is the record's, `target` the target condition."""
    size, meta, level, patch_vox = record.meta.size_zyx, record.meta, crop.level, crop.patch_vox
    if level == "image":
        start, step = (0.0,) * 3, tuple(n / patch_vox for n in size)
        hu, labels = record.image_ct[:], torch.from_numpy(record.image_anatomy[:])
    else:
        crop_vox, corner = crop.edge_vox, crop.corner
        start, step = tuple(map(float, corner)), (crop_vox / patch_vox,) * 3
        hu = padded(record.ct, corner, (crop_vox,) * 3, air_hu(meta.window)).numpy()
        labels = padded(record.anatomy, corner, (crop_vox,) * 3, 0)
    if level == "double":
        hu, labels = halve(hu), labels[1::2, 1::2, 1::2].contiguous()
    scaled = torch.from_numpy(normalise(hu, meta.window))[None]
    coordinates = patch_coordinates(start, step, (patch_vox,) * 3, size)
    return Sample(scaled, labels, coordinates, MODEL_REGIONS.index(meta.region), LEVELS.index(level), index, target)


def halve(hu_zyx: np.ndarray) -> np.ndarray:
    """Return the mean of each 2 x 2 x 2 voxels, float32; integers add up three times as fast as torch pools."""
    total = np.add(hu_zyx[0::2], hu_zyx[1::2], dtype=np.int32)
    total = total[:, 0::2] + total[:, 1::2]
    total = total[:, :, 0::2] + total[:, :, 1::2]
    return total.astype(np.float32) / 8


def collate(samples: list[Sample]) -> Sample:
    """Return the samples as one, tensors stacked and numbers as int64 tensors."""
    return Sample(
        torch.stack([s.image for s in samples]),
        torch.stack([s.anatomy for s in samples]),
        torch.stack([s.coordinates for s in samples]),
        *(torch.tensor([getattr(s, name) for s in samples]) for name in ("region", "level", "record")),  # type: ignore[arg-type]
        None if samples[0].target is None else torch.stack([s.target for s in samples]),  # type: ignore[misc]
    )


def padded(array: Any, corner: Sequence[int], size_zyx: tuple[int, ...], fill: float) -> Tensor:
    """Return a crop of a stored array; where it reaches beyond the array it holds `fill`."""
    ends = [c + n for c, n in zip(corner, size_zyx, strict=True)]
    inside = tuple(slice(max(0, c), max(0, min(n, e))) for c, e, n in zip(corner, ends, array.shape, strict=True))
    crop = torch.from_numpy(np.ascontiguousarray(array[inside]))
    before = [min(n, max(0, -c)) for c, n in zip(corner, size_zyx, strict=True)]
    padding = [p for axis in (2, 1, 0) for p in (before[axis], size_zyx[axis] - before[axis] - crop.shape[axis])]
    return F.pad(crop, padding, value=fill) if any(padding) else crop
