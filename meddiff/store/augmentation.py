"""Random variation of training samples: the body's size, posture and shape, its contrast medium, and a head's side.

The region as a whole is varied, and the sample is cut from what it has become, so that labels and coordinates are those
of the varied region at every level.

Choice: the paper trains on thousands of scans and names no augmentation, so it is off by default; a model learns a
dozen bodies by heart. Left out: chests and abdomens are not mirrored, for that is situs inversus, while a head is
symmetric; noise and blur are not added, for a prior that has learnt them removes none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from meddiff.anatomy.labels import CLASS_IDS, CLASS_NAMES, KIDNEY, LABEL_COUNT, OUTSIDE, ids
from meddiff.config import MODEL_REGIONS, AugmentationConfig, Region, Window
from meddiff.store.patches import LEVELS, Crop, Draw, Sample, draw, halve, random_corner
from meddiff.store.position import patch_coordinates
from meddiff.store.record import Record, resize_mask
from meddiff.volumes.hu import air_scaled, normalise

NODE_MM = 48.0  # between the random displacements, smooth in between: half of an organ
SOFT_TISSUE_HU, LOWEST_ENHANCING_HU = 40.0, -30.0  # without contrast medium; below lies what takes none: fat and air
FEWEST_VOXELS = 30  # of an organ in a sample, to know how strongly it is enhanced
# Structures that contrast medium reaches together.
ENHANCING = (
    (
        *(name for name in CLASS_NAMES if "artery" in name),
        *("heart", "aorta", "pulmonary_vein", "atrial_appendage_left", "brachiocephalic_trunk"),
    ),
    tuple(name for name in CLASS_NAMES if "vena" in name or "_vein_" in name),
    ("liver",),
    ("spleen",),
    ("pancreas",),
    KIDNEY,
)
GROUP_OF_LABEL = np.zeros(LABEL_COUNT, np.uint8)  # the number in ENHANCING from 1; 0 for what is not enhanced
for _group, _names in enumerate(ENHANCING, start=1):
    GROUP_OF_LABEL[list(ids(*_names))] = _group


def _other_side(name: str) -> str:
    sides = {"left": "right", "right": "left"}
    return "_".join(sides.get(word, word) for word in name.split("_"))


# Label id -> id of the same structure on the other side. The lobes and the appendage that have no counterpart stay: no
# body with lungs is mirrored.
MIRRORED_LABELS = np.arange(LABEL_COUNT, dtype=np.uint8)
for _name, _id in CLASS_IDS.items():
    MIRRORED_LABELS[_id] = CLASS_IDS.get(_other_side(_name), _id)


def augmented(config: AugmentationConfig) -> Draw:
    """Return how training samples are drawn: as they are, or, of the configured share, varied."""
    return Augmented(config) if config.share else draw


@dataclass(frozen=True)
class Augmented:
    """Draws samples as `patches.draw` does, and varies a share of them."""

    config: AugmentationConfig

    def __call__(self, record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0) -> Sample:
        """Return a sample; it depends on the arguments and the state of `rng` alone."""
        if rng.random() >= self.config.share:
            return draw(record, level, patch_vox, rng, index)
        shape = Shape.random(record, self.config, rng)
        crop = Crop(level, patch_vox, random_corner(shape.size_zyx, level, patch_vox, rng))
        sample = cut_shaped(record, crop, shape, rng, index)
        return vary_contrast(sample, record.meta.window, self.config.contrast, rng)


@dataclass(frozen=True)
class Shape:
    """The varied region: its size in voxels, and where the content of its voxels comes from.

    A point y of the varied region shows the point c + `matrix` (y - c') of the stored one, c and c' being the centres,
    and then a smooth random displacement with standard deviation `displacement_vox` moves it on.
    """

    size_zyx: tuple[int, ...]
    matrix: np.ndarray
    mirrored: bool
    displacement_vox: float

    @classmethod
    def random(cls, record: Record, config: AugmentationConfig, rng: np.random.Generator) -> "Shape":
        stored = np.array(record.meta.size_zyx)
        factors, roll, side = rng.uniform(-1, 1, 3), rng.uniform(-1, 1), rng.random()
        size = np.maximum(1, np.round(stored * (1 + config.size * factors)).astype(int))
        angle = math.radians(config.roll_degrees * roll)
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ np.diag(stored / size)
        mirrored = record.meta.region == Region.HAN and side < config.mirrored_heads
        if mirrored:
            matrix = np.diag([1.0, 1.0, -1.0]) @ matrix
        displacement_vox = config.displacement_mm / record.meta.spacing_mm
        return cls(tuple(map(int, size)), matrix, bool(mirrored), displacement_vox)

    def place_of(self, point_zyx: np.ndarray, stored_zyx: Sequence[int]) -> np.ndarray:
        """Return where in the varied region, but for displacements, a point of the stored one is shown."""
        centre, varied_centre = (np.array(stored_zyx) - 1) / 2, (np.array(self.size_zyx) - 1) / 2
        return varied_centre + np.linalg.solve(self.matrix, point_zyx - centre)


def cut_shaped(
    record: Record, crop: Crop, shape: Shape, rng: np.random.Generator, index: int = 0, with_lesion: bool = False
) -> Sample:
    """Return the sample of a crop of a varied region.

    Without variation it is that of `patches.cut`, but where pairs of voxels (level `double`) cross a region's end.

    Args:
        record: the region as it is stored.
        crop: of the varied region.
        shape: the variation.
        rng: draws the displacements.
        index: of the record.
        with_lesion: the lesion mask becomes the target condition.
    """
    meta, size, level, patch_vox = record.meta, np.array(shape.size_zyx), crop.level, crop.patch_vox
    start = np.zeros(3) if level == "image" else np.array(crop.corner, float)
    step = size / patch_vox if level == "image" else np.full(3, crop.edge_vox / patch_vox)
    axes = [s + d * (np.arange(patch_vox) + 0.5) - 0.5 for s, d in zip(start, step, strict=True)]
    source = _source_points(axes, record.meta.size_zyx, shape)
    source += _displacements(step * meta.spacing_mm, patch_vox, shape.displacement_vox, rng)
    hu, labels = _sample(record, crop, source)
    scaled, labels = normalise(hu, meta.window), MIRRORED_LABELS[labels] if shape.mirrored else labels
    lesion = _lesion(record, crop, source) if with_lesion else None
    for axis, (points, count) in enumerate(zip(axes, size, strict=True)):
        beyond = (slice(None),) * axis + ((points < -0.5) | (points > count - 0.5),)
        scaled[beyond], labels[beyond] = air_scaled(meta.window), OUTSIDE
        if lesion is not None:
            lesion[beyond] = 0
    coordinates = patch_coordinates(tuple(start), tuple(step), (patch_vox,) * 3, shape.size_zyx)
    numbers = MODEL_REGIONS.index(meta.region), LEVELS.index(level), index
    target = None if lesion is None else torch.from_numpy(lesion)[None]
    return Sample(torch.from_numpy(scaled)[None], torch.from_numpy(labels), coordinates, *numbers, target)


def vary_contrast(sample: Sample, window: Window, strength: float, rng: np.random.Generator) -> Sample:
    """Return a sample with more or less contrast medium in each group of `ENHANCING`.

    What a group's median has above soft tissue is multiplied by exp(N(0, `strength`)). One number is added to the whole
    group, smoothed at its border, so that its noise stays. What the window clips is left alone: nobody knows its HU.
    """
    factors = np.exp(strength * rng.standard_normal(len(ENHANCING)))
    hu = sample.image[0].numpy() * (window.width_hu / 2) + window.level_hu
    groups = np.where(hu > LOWEST_ENHANCING_HU, GROUP_OF_LABEL[sample.anatomy.numpy()], 0)
    added_hu = np.zeros(len(ENHANCING) + 1, np.float32)
    for group in np.flatnonzero(np.bincount(groups.ravel(), minlength=len(added_hu)) >= FEWEST_VOXELS):
        enhancement = float(np.median(hu[groups == group])) - SOFT_TISSUE_HU
        if group and 0 < enhancement < window.high_hu - SOFT_TISSUE_HU - 1:
            added_hu[group] = (factors[group - 1] - 1) * enhancement
    added = torch.from_numpy(added_hu[groups])[None] / (window.width_hu / 2)
    smooth = F.avg_pool3d(added, 3, stride=1, padding=1, count_include_pad=False)
    return replace(sample, image=(sample.image + smooth).clamp(-1, 1))


def _source_points(axes: list[np.ndarray], stored_zyx: Sequence[int], shape: Shape) -> np.ndarray:
    """Return the points of the stored region, in its voxels, that a grid of the varied one shows, (3, Z, Y, X)."""
    z, y, x = ((a - (n - 1) / 2).astype(np.float32) for a, n in zip(axes, shape.size_zyx, strict=True))
    points = np.empty((3, len(z), len(y), len(x)), np.float32)
    for row, (of_z, of_y, of_x), size in zip(points, shape.matrix.astype(np.float32), stored_zyx, strict=True):
        row[:] = (of_z * z + np.float32((size - 1) / 2))[:, None, None]
        row += of_y * y[:, None] + of_x * x
    return points


def _displacements(voxel_mm: np.ndarray, patch_vox: int, deviation_vox: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth random displacements, (3, P, P, P), in voxels of the region."""
    nodes = [math.ceil(patch_vox * mm / NODE_MM) + 1 for mm in voxel_mm]
    coarse = torch.from_numpy(deviation_vox * rng.standard_normal((1, 3, *nodes), np.float32))
    return F.interpolate(coarse, size=(patch_vox,) * 3, mode="trilinear", align_corners=True)[0].numpy()


def _sample(record: Record, crop: Crop, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return HU, float32, trilinear, and labels, nearest, at points of the stored region; its ends go on beyond it."""
    if crop.level == "image":
        place = _place_in_image(record, crop.patch_vox, source)
        return _trilinear(record.image_ct[:], place), _nearest(record.image_anatomy[:], place)
    low, high = _bounds(source, crop.corner)
    place = source - low.astype(np.float32)[:, None, None, None]
    hu, labels = (_block(array, low, high) for array in (record.ct, record.anatomy))
    labels = _nearest(labels, place)
    return (_trilinear(halve(hu), (place - 0.5) / 2) if crop.level == "double" else _trilinear(hu, place)), labels


def _lesion(record: Record, crop: Crop, source: np.ndarray) -> np.ndarray:
    """Return the lesion mask, float32, nearest; where a voxel stands for several, it is lesion when one of them is."""
    if crop.level == "image":
        mask = resize_mask(torch.from_numpy(record.lesion[:] > 0).float(), crop.patch_vox).numpy()
        return _nearest(mask, _place_in_image(record, crop.patch_vox, source))
    low, high = _bounds(source, crop.corner)
    mask, place = _block(record.lesion, low, high) > 0, source - low.astype(np.float32)[:, None, None, None]
    if crop.level == "double":
        mask, place = halve(mask) > 0, (place - 0.5) / 2
    return _nearest(mask, place).astype(np.float32)


def _place_in_image(record: Record, patch_vox: int, source: np.ndarray) -> np.ndarray:
    """Return points of the stored region in voxels of the whole region resized to the patch."""
    scale = (patch_vox / np.array(record.meta.size_zyx)).astype(np.float32)[:, None, None, None]
    return (source + 0.5) * scale - 0.5


def _bounds(source: np.ndarray, corner: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first voxels around points, and those after the last."""
    low = np.floor(source.min((1, 2, 3))).astype(int) - 2
    low -= (low - corner) % 2  # pairs of voxels, at the level `double`, are those of a crop that is not varied
    high = np.ceil(source.max((1, 2, 3))).astype(int) + 3
    return low, high + (high - low) % 2


def _block(array: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return a part of a stored array, whose ends go on beyond it."""
    last = np.array(array.shape)
    first, after = np.clip(low, 0, last - 1), np.clip(high, 1, last)
    inside = array[tuple(map(slice, first.tolist(), after.tolist()))]
    return np.pad(inside, np.stack([first - low, high - after], axis=1), mode="edge")


def _trilinear(array_zyx: np.ndarray, place: np.ndarray) -> np.ndarray:
    spans = np.maximum(np.array(array_zyx.shape) - 1, 1).astype(np.float32)
    grid = np.stack([p * (2 / n) - 1 for p, n in zip(place[::-1], spans[::-1], strict=True)], axis=-1)
    volume = torch.from_numpy(np.ascontiguousarray(array_zyx, np.float32))[None, None]
    sampled = F.grid_sample(volume, torch.from_numpy(grid)[None], padding_mode="border", align_corners=True)
    return sampled[0, 0].numpy()


def _nearest(labels_zyx: np.ndarray, place: np.ndarray) -> np.ndarray:
    index = np.floor(place + 0.5).astype(np.intp)
    z, y, x = (np.clip(i, 0, n - 1) for i, n in zip(index, labels_zyx.shape, strict=True))
    return labels_zyx[z, y, x]
