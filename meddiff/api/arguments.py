"""What tasks are told beside the scan: names, masks, lesions."""

from pathlib import Path
from typing import NamedTuple, TypeVar

from meddiff.anatomy.numbering import MaskFile
from meddiff.api.images import Files, Source
from meddiff.config import LARGEST_SEED, MODEL_REGIONS, Organ, Region
from meddiff.errors import UserError
from meddiff.tasks.lesion_files import Wanted

Choice = TypeVar("Choice", Region, Organ)
Place = tuple[Path, Region, MaskFile | None]  # of a scan, the part of it, its anatomy


class DrawnLesion(NamedTuple):
    """A lesion whose mask is drawn, of this size and somewhere in this organ."""

    organ: Organ | str
    diameter_mm: float = 20.0


def choice(kind: type[Choice], value: Choice | str) -> Choice:
    """Return a region that models know, or an organ, by its name.

    Raises:
        UserError: there is none of this name.
    """
    known = [str(each) for each in (MODEL_REGIONS if kind is Region else kind)]
    if str(value) not in known:
        raise UserError(f"{kind.__name__.lower()} {value}: give one of {', '.join(known)}")
    return kind(value)


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators of random numbers do not take.

    Raises:
        UserError: it is negative, or larger than they take.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed {seed}: give a whole number from 0 to {LARGEST_SEED}")


def mask_file(files: Files, anatomy: Source | MaskFile) -> MaskFile:
    """Return an anatomy mask as the tasks read it."""
    return anatomy if isinstance(anatomy, MaskFile) else MaskFile(files.path(anatomy, "anatomy"))


def place(files: Files, ct: Source, region: Region | str, anatomy: Source | MaskFile | None) -> Place:
    """Return what `read_scan` is told of a scan."""
    return files.path(ct, "scan"), choice(Region, region), None if anatomy is None else mask_file(files, anatomy)


def wanted_lesion(files: Files, lesion: Source | DrawnLesion, seed: int) -> Wanted:
    """Return the lesion of a mask, or of one that is drawn."""
    if isinstance(lesion, DrawnLesion):
        return Wanted(None, choice(Organ, lesion.organ), lesion.diameter_mm, seed)
    return Wanted(files.path(lesion, "lesion"), None, 0.0, seed)


def name_of(given: Source | MaskFile) -> str:
    """Return what is said of a file before a reason; of what is given in memory nothing."""
    path = given.path if isinstance(given, MaskFile) else given
    return f"{path}: " if isinstance(path, str | Path) else ""
