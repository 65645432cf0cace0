"""Reading and writing volumes, and the one place where axis orders meet.

Outside, an image is a `SimpleITK.Image`: index order xyz, physical frame LPS.
Inside, an array is `zyx`: the last axis runs to the patient's left, the middle one
to posterior, the first one to superior.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.machine.files import temporary_beside
from meddiff.volumes.dicom.headers import is_dicom
from meddiff.volumes.dicom.labels import read_dicom_labels
from meddiff.volumes.dicom.series import choose_series, read_series
from meddiff.volumes.files import VOLUME_SUFFIXES as VOLUME_SUFFIXES
from meddiff.volumes.files import WRITTEN_SUFFIXES as WRITTEN_SUFFIXES
from meddiff.volumes.files import is_volume_file, read_file, read_file_grid
from meddiff.volumes.geometry import Grid, without_shear
from meddiff.volumes.nifti import is_nifti, write_sheared_nifti

AIR_HU = -1024
SPACING_TOLERANCE_MM = 0.05
# Choice: fewer voxels have one value by chance, and of a scan that was cut off lower, body and air can be told apart.
CLIPPED_ABOVE_HU, CLIPPED_SHARE = -500, 0.01


def read_ct(path: Path, min_extent_mm: float = 0.0, allow_missing: bool = False) -> sitk.Image:
    """Return a CT volume in canonical LPS orientation, int16, in HU; padding below air becomes air.

    An oblique scan stays oblique: its axes are those nearest to LPS, and resampling to an axis-aligned grid puts it
    upright. A scan with a tilted gantry is sheared upright within its slices (`geometry.without_shear`).

    Memory: at most max(file + 4, 6) bytes per voxel, `file` being what a voxel takes as it is read: 2 for int16, 4 for
    float32 and what has a slope, 8 for float64. A DICOM folder takes 6, one with a tilted gantry 12.

    Args:
        path: a NIfTI, NRRD or MHA file, or a folder with DICOM slices, of which `dicom.series` chooses the CT.
        min_extent_mm: what the scan must reach along each axis.
        allow_missing: whether a DICOM series may lack slices that lie in its folder and cannot be read with it.

    Raises:
        CaseError: the path holds no readable 3-D CT; the message is the reason.
    """
    image = put_upright(read_acquired(path, allow_missing))
    extent_mm = [n * side for n, side in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    if min(extent_mm) < min_extent_mm:
        raise CaseError(f"too small: {'x'.join(f'{e:.0f}' for e in extent_mm)} mm, and {min_extent_mm:g} mm are needed")
    return image


def read_acquired(path: Path, allow_missing: bool = False) -> sitk.Image:
    """Return a CT in HU as `read_ct` does, but with the order of voxels, and the shear, of its file."""
    if path.is_dir():
        image = read_series(path, AIR_HU, allow_missing)
    elif not is_volume_file(path) and is_dicom(path):
        raise CaseError("a DICOM file by itself: put the files of each scan into a folder of their own below the root")
    else:
        image = _drop_fourth_axis(read_file(path))
    _refuse_unless_ct(sitk.GetArrayViewFromImage(image))
    return _in_hu(image)


def put_upright(acquired: sitk.Image) -> sitk.Image:
    """Return a CT with perpendicular axes, in LPS."""
    return sitk.DICOMOrient(without_shear(acquired, AIR_HU), "LPS")


def read_grid(path: Path) -> Grid:
    """Return where the voxels of a CT lie, in the order of its file, from headers alone; see `read_ct`."""
    grid = choose_series(path).series.grid if path.is_dir() else read_file_grid(path)
    return grid.orthogonal()


def read_labels(path: Path, reference: sitk.Image, names: Sequence[str] = ()) -> sitk.Image:
    """Return labels on the grid of their scan, uint8.

    Args:
        path: a label map (NIfTI, NRRD, MHA), a DICOM RTSTRUCT or SEG file, or a folder that holds one of these two.
        reference: the scan.
        names: regions of interest of an RTSTRUCT, or segments of a SEG, that become the labels 1, 2, ...; by
            default all, in the order in which the file has them.

    Raises:
        CaseError: no readable labels, or labels that lie on other voxels than the scan; the order of axes is free.
    """
    grid = Grid.of(reference)
    labels = read_label_map(path, grid) if is_volume_file(path) else read_dicom_labels(path, grid, names)
    return sitk.Resample(labels, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def read_label_map(path: Path, scan: Grid) -> sitk.Image:
    """Return the label map of a scan, uint8, in the order of axes of its own file, without shear as the scan is."""
    image = read_upright_labels(path)
    refuse_other_voxels(image, scan)
    values_zyx = sitk.GetArrayViewFromImage(image)
    if not (values_zyx.min() >= 0 and values_zyx.max() <= 255):
        raise CaseError("labels that are not numbers from 0 to 255")
    return like(np.rint(values_zyx).astype(np.uint8), image)


def read_upright_labels(path: Path) -> sitk.Image:
    """Return a label map with its own values and order of axes; a shear is taken out as it is from a scan."""
    return without_shear(_drop_fourth_axis(read_file(path)), 0, sitk.sitkNearestNeighbor)


def refuse_other_voxels(labels: sitk.Image, scan: Grid) -> None:
    """Check that labels lie on the voxels of their scan.

    Raises:
        CaseError: they do not.
    """
    if not Grid.of(labels).equals(scan):
        raise CaseError(
            "the labels lie on other voxels than the scan (size, spacing, origin or directions differ); "
            "resample them to its grid"
        )


def read_image(path: Path, placed: bool = True) -> sitk.Image:
    """Return a volume as it is; `placed` as in `volume_files.read_file`."""
    return read_file(path, placed)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write a volume so that `path` appears whole or not at all; `.nii.gz` at compression level 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        if is_nifti(path) and not Grid.of(image).is_perpendicular():
            write_sheared_nifti(image, temporary)
        else:
            sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)


def to_zyx(image: sitk.Image) -> np.ndarray:
    """Return the voxels as a `zyx` array (a copy)."""
    return sitk.GetArrayFromImage(image)


def like(array_zyx: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """Return an image with these voxels and the geometry of `reference`."""
    image = sitk.GetImageFromArray(array_zyx)
    image.CopyInformation(reference)
    return image


def from_zyx(
    array_zyx: np.ndarray, spacing_mm: float, origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> sitk.Image:
    """Return an axis-aligned isotropic LPS image; `origin_mm` is xyz, of the first voxel's centre."""
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing((spacing_mm,) * 3)
    image.SetOrigin(origin_mm)
    return image


def onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Return a CT on another grid, int16 HU, linear interpolation, air where it does not reach."""
    values = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, float(AIR_HU), sitk.sitkFloat32)
    return sitk.Cast(sitk.Round(values), sitk.sitkInt16)  # a filter's own cast to integers cuts off


def in_order_of(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Return an image with its axes in the order, and the directions, that are nearest to those of a grid."""
    ways = (grid.axes_mm / grid.spacing_mm).ravel().tolist()
    return sitk.DICOMOrient(image, sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(ways))


def crop(image: sitk.Image, start_zyx: tuple[int, ...], stop_zyx: tuple[int, ...]) -> sitk.Image:
    """Return the box [start, stop) of an image, with its origin moved accordingly."""
    size_xyz = [stop - start for start, stop in zip(start_zyx, stop_zyx, strict=True)][::-1]
    return sitk.RegionOfInterest(image, size_xyz, list(start_zyx)[::-1])


def _drop_fourth_axis(image: sitk.Image) -> sitk.Image:
    if (components := image.GetNumberOfComponentsPerPixel()) != 1:
        raise CaseError(
            f"each voxel has {components} values: a colour image, or overlapping segments, which 3D Slicer saves in "
            "layers; save one number for each voxel"
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3 or min(image.GetSize()) < 2:
        raise CaseError(f"not a 3-D volume: size {'x'.join(map(str, image.GetSize()))}")
    return image


def _in_hu(image: sitk.Image) -> sitk.Image:
    """Return the voxels rounded and limited to int16, slice by slice: no copy in another type."""
    values_zyx = sitk.GetArrayViewFromImage(image)
    if values_zyx.dtype == np.int16 and values_zyx.min() >= AIR_HU:
        return image
    hu_zyx = np.empty(values_zyx.shape, np.int16)
    for z, values in enumerate(values_zyx):
        hu_zyx[z] = np.rint(np.clip(values, AIR_HU, np.iinfo(np.int16).max))
    return like(hu_zyx, image)


def _refuse_unless_ct(hu_zyx: np.ndarray) -> None:
    """Choice: a CT in HU has voxels of fat, lung or air (below -50, above padding); MR, PET and raw values have none.

    Nor is a CT air alone, nor one whose air was cut off: its lowest value is that of many voxels, and far above air.
    """
    lowest, highest = float(hu_zyx.min()), float(hu_zyx.max())
    if not np.isfinite([lowest, highest]).all():
        raise CaseError("voxels that are not finite numbers")
    lowest = min(float(plane.min(where=plane > AIR_HU, initial=highest)) for plane in hu_zyx)
    if lowest >= -50 or highest <= -500:
        raise CaseError(f"values from {lowest:g} to {highest:g} cannot be CT in HU (MR, PET or missing rescale?)")
    if lowest > CLIPPED_ABOVE_HU:
        share = sum(int(np.count_nonzero(plane == lowest)) for plane in hu_zyx) / hu_zyx.size
        if share >= CLIPPED_SHARE:
            raise CaseError(
                f"clipped to {lowest:g} to {highest:g}: {share:.0%} of the voxels have the lowest value, and air has "
                "-1000 HU; give the scan as it was before"
            )
