"""Which classes the numbers of a mask stand for: TotalSegmentator's versions count differently.

TotalSegmentator names its classes in the header of the NIfTI files that it writes, and 3D Slicer, which numbers as it
likes, does so in its `.seg.nrrd`; what stands there counts. Where nothing does, the numbers alone cannot tell (13 is a
lung in version 1, and another one in version 2), and the user says which version it was.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from meddiff.anatomy.labels import BODY, CLASS_IDS, CLASS_NAMES
from meddiff.machine.extras import require
from meddiff.volumes.files import read_segment_names
from meddiff.volumes.nifti import is_nifti, read_nifti_extensions

TASKS = {1: "total_v1", 2: "total", 3: "total_v3"}  # TotalSegmentator's own names of them
HEART = ("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right", "heart_ventricle_right")
IDS = CLASS_IDS | dict.fromkeys(HEART, CLASS_IDS["heart"]) | {"body": BODY}


@dataclass(frozen=True)
class MaskFile:
    """An anatomy mask of a user, and the version of TotalSegmentator that counts where the file names no classes.

    A label map, a folder with a file for each structure, or an RTSTRUCT or SEG, or the DICOM folder with one of these.
    """

    path: Path
    version: int = 2


def class_of(name: str) -> str:
    """Return what TotalSegmentator would call a structure: `Kidney Left` is `kidney_left`."""
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


def names_in_file(path: Path) -> dict[int, str]:
    """Return the names of labels that TotalSegmentator, or 3D Slicer for its segments, wrote into a file, if any."""
    if not is_nifti(path):
        names = read_segment_names(path)
        return names if any(name in IDS for name in names.values()) else {}
    text = read_nifti_extensions(path).decode("utf-8", "replace")
    labels = re.findall(r'<Label Key="(\d{1,3})"[^>]*><!\[CDATA\[(.*?)\]\]>', text)
    return {int(number): name for number, name in labels if int(number) < 256}


def names_of_version(version: int) -> dict[int, str]:
    """Return the names of TotalSegmentator's classes by their numbers in one of its versions."""
    if version == 2:
        return dict(enumerate(CLASS_NAMES, start=1))
    require("totalsegmentator")
    from totalsegmentator.map_to_binary import class_map

    return class_map[TASKS[version]]
