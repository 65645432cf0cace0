"""The crop store: one region of one scan as compressed arrays from which a crop is read in milliseconds.

A record is a folder:

    ct.b2nd             int16 HU, clipped to the region's window, `zyx`
    anatomy.b2nd        uint8 label ids
    image_ct.b2nd       the whole region resized to the patch (level "image"), int16 HU
    image_anatomy.b2nd  its labels
    lesion.b2nd         uint8, 1 is lesion; where the dataset has labels
    meta.json           geometry, window, source, sizes; written last

Arrays are opened for each access and not kept: that takes 0.1 ms, while five thousand open records would pass the limit
of open files, and an open array can be neither pickled nor shared. An open array is a map of its file; a file that is
replaced meanwhile is read to the end as it was.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import Organ, Region, Window
from meddiff.machine.files import digest, read_json, remove_leftovers, sha256, temporary_beside, write_json
from meddiff.volumes.hu import clip_hu

if TYPE_CHECKING:
    import SimpleITK as sitk

CHUNK_ZYX, BLOCK_ZYX = (64, 64, 64), (16, 32, 32)  # what is compressed together, and what is read at least


@dataclass(frozen=True)
class RecordMeta:
    """What a record knows about itself; lengths in mm, frames LPS, sizes and boxes `zyx`.

    `arrays_digest` names what is in the arrays, so that the checksum of `meta.json` is one of the whole record.
    """

    id: str
    dataset: str
    case: str
    region: Region
    role: str
    split: str
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    size_zyx: tuple[int, int, int]
    window: Window
    anatomy_weights: str
    arrays_digest: str = ""
    lesion_organ: Organ | None = None


class Record:
    """A stored region; arrays are read from disk crop by crop, in any process and after any fork.

    Args:
        folder: of the record.
        sha256: of its `meta.json`, as the store's index has it.
    """

    def __init__(self, folder: Path, sha256: str = "") -> None:
        self.folder, self.sha256 = folder, sha256

    @property
    def path(self) -> Path:
        """The file that is written last, and that the store's index names."""
        return self.folder / "meta.json"

    @cached_property
    def meta(self) -> RecordMeta:
        meta = read_json(self.path)
        return RecordMeta(
            **{
                **meta,
                "region": Region(meta["region"]),
                "window": Window(**meta["window"]),
                "size_zyx": tuple(meta["size_zyx"]),
                "origin_mm": tuple(meta["origin_mm"]),
                "lesion_organ": Organ(meta["lesion_organ"]) if meta.get("lesion_organ") else None,
            }
        )

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def ct(self) -> Any:
        return open_array(self.folder / "ct.b2nd")

    @property
    def anatomy(self) -> Any:
        return open_array(self.folder / "anatomy.b2nd")

    @property
    def lesion(self) -> Any:
        """The lesion labels; None where the dataset has none."""
        path = self.folder / "lesion.b2nd"
        return open_array(path) if path.exists() else None

    @property
    def image_ct(self) -> Any:
        return open_array(self.folder / "image_ct.b2nd")

    @property
    def image_anatomy(self) -> Any:
        return open_array(self.folder / "image_anatomy.b2nd")

    def as_image(self, hu_zyx: np.ndarray) -> "sitk.Image":
        """Return voxels of this record's size in its place in space."""
        from meddiff.volumes import volumes

        return volumes.from_zyx(hu_zyx, self.meta.spacing_mm, self.meta.origin_mm)


def write_record(
    folder: Path,
    meta: RecordMeta,
    ct_zyx: np.ndarray,
    anatomy_zyx: np.ndarray,
    patch_vox: int,
    lesion_zyx: np.ndarray | None = None,
) -> Path:
    """Write a record and return its `meta.json`; an older record in the folder is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for old in ("meta.json", "lesion.b2nd"):
        (folder / old).unlink(missing_ok=True)
    clipped = clip_hu(ct_zyx, meta.window)
    arrays = {
        "ct": clipped,
        "anatomy": anatomy_zyx.astype(np.uint8),
        "image_ct": resize(clipped, patch_vox),
        "image_anatomy": resize_labels(anatomy_zyx, patch_vox),
    }
    if lesion_zyx is not None:
        arrays["lesion"] = lesion_zyx
    checksums = {name: save_array(array, folder / f"{name}.b2nd") for name, array in arrays.items()}
    known = {"window": meta.window.model_dump(), "arrays_digest": digest(checksums)}
    write_json(asdict(meta) | known, folder / "meta.json")
    return folder / "meta.json"


def resize(hu_zyx: np.ndarray, size_vox: int) -> np.ndarray:
    """Return the volume resized to a cube, int16, trilinear on the grid of `position.patch_coordinates`.

    Choice: an axis that shrinks is averaged over its voxels first (area interpolation), so that vessels do not alias.
    """
    tensor = torch.from_numpy(hu_zyx.astype(np.float32))[None, None]
    z, y, x = (min(size_vox, n) for n in hu_zyx.shape)
    tensor = F.adaptive_avg_pool3d(tensor, (z, y, x))
    tensor = F.interpolate(tensor, size=(size_vox,) * 3, mode="trilinear", align_corners=False)
    return tensor[0, 0].round().numpy().astype(np.int16)


def resize_labels(labels_zyx: np.ndarray, size_vox: int) -> np.ndarray:
    """Return the label map resized to a cube, nearest neighbour at voxel centres."""
    index = [np.minimum(((np.arange(size_vox) + 0.5) * n / size_vox).astype(int), n - 1) for n in labels_zyx.shape]
    return labels_zyx[np.ix_(*index)].astype(np.uint8)


def resize_mask(mask_ZYX: Tensor, size_vox: int) -> Tensor:
    """Return a mask resized to a cube."""
    z, y, x = (min(size_vox, n) for n in mask_ZYX.shape)
    small = F.adaptive_max_pool3d(mask_ZYX[None, None], (z, y, x))
    return F.interpolate(small, size=(size_vox,) * 3, mode="nearest-exact")[0, 0]


def save_array(array: np.ndarray, path: Path) -> str:
    """Write an array and return the file's checksum.

    Choice: the codec that is fastest to read; with one thread the bytes are always the same.
    """
    import blosc2

    chunks = tuple(map(min, CHUNK_ZYX, array.shape))
    with temporary_beside(path) as temporary:
        blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=str(temporary),
            chunks=chunks,
            blocks=tuple(map(min, BLOCK_ZYX, chunks)),
            cparams=blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, filters=[blosc2.Filter.BITSHUFFLE], nthreads=1),
            mode="w",
        )
    return sha256(path)


def open_array(path: Path) -> Any:
    """Return an array of the store to read crops from."""
    import blosc2

    return blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
