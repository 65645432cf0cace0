"""What a case may take of the memory, by the header of its scan, so that cases that are worked on together fit.

Memory of `resample` and `store`: 0.5 GB for the program and, for all cases in work together, the larger of what they
may take and of what the largest needs. A scan of N voxels that are b bytes on disk and become M at the new spacing
needs max((2 b + 3) N, 2 N + 6 M) bytes to be resampled, and 20 M to be stored.
"""

import math
from pathlib import Path

import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.nifti import is_nifti, read_nifti_header

PROGRAM_MB, STORING_BYTES_PER_VOXEL = 500, 20


def resampling_bytes(path: Path, spacing_mm: float) -> float:
    """Return the most memory that reading and resampling a scan takes, by its header; 0 if that cannot be read."""
    header = volume_header(path)
    if header is None:
        return 0
    voxels, voxel_bytes, volume_mm3 = header
    return max((2 * voxel_bytes + 3) * voxels, 2 * voxels + 6 * volume_mm3 / spacing_mm**3)


def volume_header(path: Path) -> tuple[int, int, float] | None:
    """Return how many voxels a volume has, the bytes of each, and the space that they fill in mm^3."""
    if is_nifti(path):
        try:
            header = read_nifti_header(path)
        except (OSError, CaseError):
            return None
        voxels = math.prod(header.get_data_shape())
        voxel_bytes = max(header.get_data_dtype().itemsize, 2)  # with a slope, one byte becomes four
        return voxels, voxel_bytes, float(voxels * math.prod(header.get_zooms()[:3]))
    reader = sitk.ImageFileReader()
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        reader.SetFileName(str(files[len(files) // 2]))
        reader.ReadImageInformation()
    except (OSError, RuntimeError, IndexError):
        return None
    voxels = math.prod(reader.GetSize()) * len(files)
    voxel_bytes = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    return voxels, voxel_bytes, voxels * math.prod(reader.GetSpacing())
