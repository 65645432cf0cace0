"""Whether readers agree on odd DICOM series, and whether damaged files end in a result or a reason.

    python -m tests.volumes.dicom.differential --count 2500 --flips 2500

compares this project's reader with the truth, with GDCM (SimpleITK) and with dcm2niix on where every voxel lies and
what it is; then it flips bytes as `tests.volumes.differential` does.
"""

import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dcm2niix
import nibabel
import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.dicom.labels import read_dicom_labels
from meddiff.volumes.dicom.series import read_series
from meddiff.volumes.geometry import Grid
from tests.volumes import differential
from tests.volumes.dicom.files import write_contours, write_enhanced, write_segments, write_series
from tests.volumes.dicom.odd_series import SYNTAXES, OddSeries, draw, encode

LOWEST, HIGHEST = -32768, 32767
HU = np.random.default_rng(0).integers(-1000, 1500, (4, 5, 6))
SCAN = Grid((6, 5, 4), np.zeros(3), np.diag([2.0, 2.0, 3.0]))
FLIPPED = (*(f"s{number}/1-1.dcm" for number in range(len(SYNTAXES))), "frames/a.dcm", "rs", "seg")


def compare(seed: int) -> str:
    """Return what became of an odd series, `read` or `refused`.

    Raises:
        AssertionError: the readers disagree, or it was refused without need, or for another reason.
    """
    with TemporaryDirectory() as folder:
        odd = draw(seed, Path(folder) / "in")
        try:
            image = read_series(odd.folder, LOWEST)
        except CaseError as error:
            if odd.why_not and odd.why_not in str(error):
                return "refused"
            raise AssertionError(f"refused: {error}") from error
        assert not odd.why_not, f"read, though {odd.why_not}"
        read_zyx, expected_zyx = volumes.to_zyx(image), np.clip(odd.hu_zyx, LOWEST, HIGHEST)
        np.testing.assert_allclose(read_zyx, expected_zyx, atol=0.51)
        truth = Grid(odd.hu_zyx.shape[::-1], odd.origin_mm, odd.axes_mm)
        np.testing.assert_allclose(Grid.of(image).corners_mm(), truth.corners_mm(), atol=2e-3)
        _compare_with_gdcm(odd)
        if not (odd.is_tilted or odd.is_multi_frame or odd.has_low_sign):  # it straightens the first
            _compare_with_dcm2niix(odd, Path(folder))
        return "read"


def _compare_with_gdcm(odd: OddSeries) -> None:
    slices = [odd.hu_zyx] if odd.is_multi_frame else odd.hu_zyx[:, None]
    for number, (file, hu_zyx) in enumerate(zip(odd.files, slices, strict=True)):
        try:
            image = sitk.ReadImage(str(file))
        except RuntimeError:  # who does not read a file (here RLE) does not disagree
            return
        grid = Grid.of(image)
        if not odd.is_multi_frame:  # of which it does not see the pixel size
            np.testing.assert_allclose(grid.axes_mm[:, :2], odd.axes_mm[:, :2], atol=1e-5)
            np.testing.assert_allclose(grid.origin_mm, odd.origin_mm + number * odd.axes_mm[:, 2], atol=2e-3)
        if not odd.is_shuffled:
            np.testing.assert_allclose(sitk.GetArrayFromImage(image), hu_zyx, atol=0.51)


def _compare_with_dcm2niix(odd: OddSeries, folder: Path) -> None:
    """Compare with the one volume that it writes; a series of which it makes several or none says nothing."""
    out = folder / "out"
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "v%r", "-o", str(out), str(odd.folder)]
    subprocess.run(command, capture_output=True, check=False, timeout=60)
    files = list(out.glob("*.nii"))
    if len(files) != 1:
        return
    file = nibabel.load(files[0])
    affine = np.diag([-1, -1, 1, 1]) @ file.affine
    values_xyz = np.asanyarray(file.dataobj)
    if values_xyz.ndim != 3 or values_xyz.size != odd.hu_zyx.size:
        return
    truth = Grid(odd.hu_zyx.shape[::-1], odd.origin_mm, odd.axes_mm)
    indices = np.argwhere(np.ones(values_xyz.shape, bool))
    places = truth.index_of(indices @ affine[:3, :3].T + affine[:3, 3])
    assert np.abs(places - places.round()).max() < 0.02, "dcm2niix sees the voxels elsewhere"
    x, y, z = places.round().astype(int).T
    np.testing.assert_allclose(values_xyz[tuple(indices.T)], odd.hu_zyx[z, y, x], atol=0.51, err_msg="dcm2niix")


def write_bases(folder: Path) -> None:
    """Write what bytes are flipped of: a series of each encoding, a multi-frame file, an RTSTRUCT and a SEG."""
    for number, syntax in enumerate(SYNTAXES):
        write_series(folder / f"s{number}", HU)
        for path in (folder / f"s{number}").iterdir():
            encode(path, syntax)
    (folder / "frames").mkdir()
    write_enhanced(folder / "frames" / "a.dcm", HU)
    square = np.array([(2, 2, 3), (8, 2, 3), (8, 6, 3)])
    write_contours(folder / "rs", {"GTV": [square, square + np.array([0, 0, 3])]})
    write_segments(folder / "seg", folder / "s0", {"Lesion": HU > 0})


def read_flipped(seed: int, folder: Path) -> str:
    """Flip bytes of a base and read it; return what became of it.

    Raises:
        Exception: anything but a reason.
    """
    name = FLIPPED[seed % len(FLIPPED)]
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(differential.flip(whole, np.random.default_rng(seed)))
    reads = [volumes.read_ct, volumes.read_grid] if "/" in name else [partial(read_dicom_labels, scan=SCAN)]
    try:
        return differential.outcome_of(reads, path.parent if "/" in name else path)
    finally:
        path.write_bytes(whole)


if __name__ == "__main__":
    differential.main(__spec__.name, compare, write_bases, read_flipped)
