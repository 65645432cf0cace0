"""Training patches around lesions (section 3.5), at the three levels, with the lesion mask as the target condition."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from meddiff.config import AugmentationConfig
from meddiff.store.augmentation import Shape, cut_shaped, vary_contrast
from meddiff.store.patches import Crop, Sample, crop_size, cut, padded
from meddiff.store.record import Record, resize_mask

Box = tuple[slice, ...]
AS_THEY_ARE = AugmentationConfig()


class AroundLesions:
    """Draws patches in which a lesion lies, each lesion of a record as often as the others.

    The patch is centred on the lesion with a jitter of up to a quarter of its size that leaves the lesion inside. Of a
    lesion that is larger than the patch a part is shown: the patch is centred on one of its voxels.

    Args:
        records: with lesions.
        patch_vox: edge of the patch.
        augmentation: how a share of the samples is varied; a lesion may then lose a margin of a few voxels.
    """

    def __init__(
        self, records: Iterable[Record], patch_vox: int, augmentation: AugmentationConfig = AS_THEY_ARE
    ) -> None:
        self._augmentation = augmentation
        self._boxes = {record.folder: lesion_boxes(record.lesion[:]) for record in records}
        self.lesions = sum(len(boxes) for boxes in self._boxes.values())
        self.larger_than_patch = sum(max(_extent(b)) > patch_vox for boxes in self._boxes.values() for b in boxes)

    def __call__(self, record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0) -> Sample:
        """Return a sample with its target condition; the arguments are those of `patches.draw`."""
        boxes = self._boxes[record.folder]
        corner = self._corner(record, boxes[rng.integers(len(boxes))], crop_size(level, patch_vox), rng)
        crop = Crop(level, patch_vox, corner)
        if self._augmentation.share and rng.random() < self._augmentation.share:
            return self._varied(record, crop, rng, index)
        return cut(record, crop, index, lesion_target(record, crop))

    def _varied(self, record: Record, crop: Crop, rng: np.random.Generator, index: int) -> Sample:
        """Return the sample of a varied region whose middle is that of a crop of the stored one."""
        shape = Shape.random(record, self._augmentation, rng)
        to_middle = (crop.edge_vox - 1) / 2
        middle = shape.place_of(np.array(crop.corner) + to_middle, record.meta.size_zyx)
        varied = replace(crop, corner=[round(place) for place in (middle - to_middle).tolist()])
        sample = cut_shaped(record, varied, shape, rng, index, with_lesion=True)
        return vary_contrast(sample, record.meta.window, self._augmentation.contrast, rng)

    def _corner(self, record: Record, box: Box, crop_vox: int, rng: np.random.Generator) -> list[int]:
        if max(_extent(box)) > crop_vox:
            voxels = np.argwhere(record.lesion[box])
            centre = voxels[rng.integers(len(voxels))] + [s.start for s in box]
            return [int(c) - crop_vox // 2 for c in centre]
        rooms = [min(crop_vox // 4, (crop_vox - n) // 2) for n in _extent(box)]
        return [c + int(rng.integers(-r, r + 1)) for c, r in zip(centred_corner(box, crop_vox), rooms, strict=True)]


def lesion_boxes(lesion_zyx: np.ndarray) -> list[Box]:
    """Return the bounding box of each lesion: of each component of 26 neighbours."""
    labels_zyx, _ = ndimage.label(lesion_zyx, np.ones((3, 3, 3)))
    return ndimage.find_objects(labels_zyx)


def centred_corner(box: Box, crop_vox: int) -> list[int]:
    """Return the first voxels of a crop with the box in its middle; it may reach beyond the region."""
    return [(s.start + s.stop) // 2 - crop_vox // 2 for s in box]


def lesion_target(record: Record, crop: Crop) -> Tensor:
    """Return the lesion mask of a sample, (1, P, P, P), 0 and 1.

    Choice: a patch voxel that stands for several is lesion when one of them is, so that no small lesion is lost.
    """
    if crop.level == "image":
        return resize_mask(torch.from_numpy(record.lesion[:] > 0).float(), crop.patch_vox)[None]
    mask = padded(record.lesion, crop.corner, (crop.edge_vox,) * 3, 0).float()[None]
    return F.max_pool3d(mask, crop.edge_vox // crop.patch_vox)


def _extent(box: Box) -> list[int]:
    return [s.stop - s.start for s in box]
