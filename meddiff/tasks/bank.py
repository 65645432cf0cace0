"""The anatomies that new ones are made from: the package's few, a folder of label maps, a store's training regions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from meddiff import anatomy
from meddiff.anatomy.masks import read_mask
from meddiff.anatomy.numbering import MaskFile
from meddiff.anatomy.regions import find_region
from meddiff.config import Region, RegionsConfig
from meddiff.datasets.splits import draw_by_hash
from meddiff.errors import CaseError, UserError
from meddiff.store.query import open_store, where
from meddiff.store.record import Record
from meddiff.volumes import volumes
from meddiff.volumes.files import is_volume_file

SHIPPED = Path(anatomy.__file__).parent / "bank"
SHARES = (0.8, 0.2, 0.0)  # Choice: of the persons, that are for training and for validation


@dataclass(frozen=True)
class Source:
    """An anatomy of a bank.

    Args:
        name: of the file or the record.
        person: whose it is.
        of: a mask of the user, or a region of a store.
    """

    name: str
    person: str
    of: MaskFile | Record

    @property
    def path(self) -> Path:
        """The file whose change is another anatomy."""
        return self.of.path

    @property
    def facts(self) -> tuple[str, ...]:
        """What a pair depends on beside the file."""
        version = (str(self.of.version),) if isinstance(self.of, MaskFile) else ()
        return (self.name, self.person, *version)

    @property
    def split(self) -> str:
        """Train or val: the same for all anatomies of a person, whoever else there is."""
        return draw_by_hash("bank", self.person, SHARES, seed=0)

    def labels(self, region: Region, spacing_mm: float, config: RegionsConfig) -> sitk.Image:
        """Return the label ids of the region, uint8, on axes of LPS.

        Raises:
            CaseError: no usable mask, no such region in it, or a store of other voxels.
        """
        if isinstance(self.of, Record):
            meta = self.of.meta
            if abs(meta.spacing_mm - spacing_mm) > volumes.SPACING_TOLERANCE_MM:
                raise CaseError(f"{self.name}: voxels of {meta.spacing_mm:g} mm, and the model's are {spacing_mm:g} mm")
            return volumes.from_zyx(self.of.anatomy[:], meta.spacing_mm, meta.origin_mm)
        upright = sitk.DICOMOrient(read_mask(self.of, spacing_mm), "LPS")
        box = find_region(volumes.to_zyx(upright), spacing_mm, region, config)
        return volumes.crop(upright, box.start_zyx, box.stop_zyx)


def shipped_bank(region: Region) -> list[Source]:
    """Return the anatomies of a region that come with the package; each is another person's."""
    return [source for source in folder_bank(SHIPPED, 2, None) if source.name.startswith(f"{region}-")]


def folder_bank(folder: Path, version: int, person: str | None) -> list[Source]:
    """Return the label maps of a folder, sorted by name.

    Args:
        folder: NIfTI, NRRD or MHA files.
        version: TotalSegmentator's, by which they count.
        person: a regular expression with one group for a file's name: whose anatomy it is; None: each is another's.

    Raises:
        UserError: there is none, or a name that the expression does not know.
    """
    files = sorted(path for path in folder.glob("*") if is_volume_file(path))
    if not files:
        raise UserError(f"{folder}: no label map in it; give a folder of NIfTI, NRRD or MHA files")
    return [Source(path.name, _person(path.name, person), MaskFile(path, version)) for path in files]


def store_bank(indices: Sequence[Path], region: Region, person: str | None) -> list[Source]:
    """Return the regions of the training split of a store, sorted by id; scans of other splits are none's to know.

    Raises:
        UserError: no such indices, or no such regions, or a case that the expression does not know.
    """
    for index in indices:
        if not index.is_file():
            raise UserError(f"--store {index}: no such file; give indices that `meddiff stage store` wrote")
    try:
        records = where(open_store(indices), region=region, split="train")
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: the store's index names it and it is not here; run this in the folder that the "
            "pipeline ran in"
        ) from error
    if not records:
        raise UserError(f"no {region} of the training split in the store")
    return [Source(r.id, f"{r.meta.dataset}/{_person(r.meta.case, person)}", r) for r in records]


def _person(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise UserError(f"--person {pattern!r}: no regular expression, {error}; such as '(P[0-9]+)_'") from error
    if not found or not found.groups() or not found[1]:
        raise UserError(f"--person {pattern!r} has no group that is found in {name}; such as '(P[0-9]+)_'")
    return found[1]
