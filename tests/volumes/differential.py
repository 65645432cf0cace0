"""Whether readers agree on odd files, and whether damaged ones end in a result or a reason.

    python -m tests.volumes.differential --count 2500 --flips 2500

compares this project's reader with nibabel, SimpleITK and the truth on where every voxel lies and what it is; then it
flips bytes of small files and reads them in a process that has 3 GB and must neither crash, nor hang, nor raise
anything but a reason. Failures name their seed.
"""

import argparse
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.files import read_file, read_file_grid
from meddiff.volumes.geometry import Grid
from meddiff.volumes.nifti import is_nifti
from tests.volumes.odd_files import Odd, draw

FLIPPED = ("a.nii", "a.nii.gz", "b.nii", "a.nrrd", "b.nrrd", "a.mha", "b.mha", "a.mhd")
MEMORY_BYTES, SECONDS_PER_FILE = 3 * 2**30, 20


def compare(seed: int) -> str:
    """Return what became of an odd file, `read` or `refused`.

    Raises:
        AssertionError: the readers disagree, or it was refused without need, or for another reason.
    """
    with TemporaryDirectory() as folder:
        odd = draw(seed, Path(folder))
        try:
            image = read_file(odd.path)
        except CaseError as error:
            if any(words in str(error) for words in odd.why_not):
                return "refused"
            raise AssertionError(f"{odd.path.name} refused: {error}") from error
        assert not odd.why_not, f"{odd.path.name} read, though {odd.why_not}"
        assert_same(image, odd.values_xyz, odd.affine_lps)
        grid = read_file_grid(odd.path)
        np.testing.assert_allclose(grid.corners_mm(), Grid.of(image).corners_mm(), atol=1e-6)
        usual = _under_a_usual_name(odd.path)
        if is_nifti(odd.path):
            _compare_with_nibabel(usual, odd, image)
        if odd.one_geometry:
            _compare_with_itk(usual, image)
        return "read"


def assert_same(image: sitk.Image, values_xyz: np.ndarray, affine_lps: np.ndarray) -> None:
    values = sitk.GetArrayFromImage(image).T
    assert values.shape == values_xyz.shape
    np.testing.assert_allclose(values, values_xyz, rtol=1e-6, atol=1e-3)
    corners = Grid.of(image).corners_mm()
    expected = Grid(values.shape, affine_lps[:3, 3], affine_lps[:3, :3]).corners_mm()
    np.testing.assert_allclose(corners, expected, atol=2e-3)  # headers of NIfTI-1 have seven digits


def _under_a_usual_name(path: Path) -> Path:
    """Return a copy that other readers know: no capitals, and `.gz` if it is compressed."""
    if path.suffix == ".mhd":  # whose voxels are in another file
        return path
    content = path.read_bytes()
    suffix = f".nii{'.gz' if content[:2] == bytes([31, 139]) else ''}" if is_nifti(path) else path.suffix.lower()
    path.with_name(f"other{suffix}").write_bytes(content)
    return path.with_name(f"other{suffix}")


def _compare_with_nibabel(path: Path, odd: Odd, image: sitk.Image) -> None:
    try:
        file = nibabel.load(path)
    except ValueError as error:  # it does not take a quaternion that rounding made longer than 1
        if "w2 should be positive" in str(error):
            return
        raise
    unit = 1e-3 if int(file.header["xyzt_units"]) & 7 == 3 else 1.0
    affine = np.diag([-unit, -unit, unit, 1]) @ file.affine
    assert_same(image, np.asanyarray(file.dataobj).reshape(odd.values_xyz.shape, order="F"), affine)


def _compare_with_itk(path: Path, image: sitk.Image) -> None:
    try:
        other = sitk.ReadImage(str(path))
    except RuntimeError:  # who does not read a file does not disagree
        return
    if other.GetDimension() == 3:
        np.testing.assert_allclose(Grid.of(image).corners_mm(), Grid.of(other).corners_mm(), atol=2e-3)
    if not is_nifti(path):  # of which it adds the intercept even where the slope says that there is none
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(other))


def write_bases(folder: Path) -> None:
    """Write the small CTs whose bytes are flipped."""
    hu_zyx = np.random.default_rng(0).integers(-1024, 1500, (6, 7, 8)).astype(np.int16)
    image = sitk.GetImageFromArray(hu_zyx)
    image.SetSpacing((2.0, 3.0, 4.0))
    for name in FLIPPED:
        if name != "b.nii":
            sitk.WriteImage(image, str(folder / name), useCompression=name[0] == "a")
    affine = np.diag([-2.0, -3, 4, 1])
    nibabel.save(nibabel.Nifti2Image(hu_zyx.T, affine), folder / "b.nii")


def read_flipped(seed: int, folder: Path) -> str:
    """Flip bytes of a base and read it as a scan and as labels; return what became of it.

    Raises:
        Exception: anything but a reason.
    """
    rng = np.random.default_rng(seed)
    name = FLIPPED[seed % len(FLIPPED)]
    path = folder / f"flipped-{name}"
    path.write_bytes(flip((folder / name).read_bytes(), rng))
    return outcome_of([volumes.read_ct, volumes.read_upright_labels, volumes.read_grid], path)


def flip(whole: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, or cut off."""
    content = bytearray(whole)
    reach = len(content) if rng.random() < 0.4 else min(len(content), 400)  # most of it is voxels
    for place in rng.integers(0, reach, int(rng.integers(1, 5))):
        content[place] = int(rng.integers(256))
    if rng.random() < 0.1:
        content = content[: int(rng.integers(len(content)))]
    return bytes(content)


def outcome_of(reads: list[Callable[[Path], Any]], path: Path) -> str:
    """Return `read` where one of several ways to read has a result, else `refused`."""
    outcome = "refused"
    for read in reads:
        try:
            read(path)
            outcome = "read"
        except CaseError as error:
            if "\n" in str(error):
                raise AssertionError("a reason of several lines") from error
    return outcome


def flip_in_a_child(first: int, count: int, module: str = "tests.volumes.differential") -> Counter[str]:
    """Read so many flipped files in a process of their own.

    Raises:
        AssertionError: it crashed, hung, or raised anything but a reason; the last seed it named is the one.
    """
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        module,
        "--child",
        str(first),
        str(count),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 + count * SECONDS_PER_FILE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"it hung after {(error.stdout or b'')[-80:]!r}") from None
    lines = done.stdout.split()
    assert done.returncode == 0, f"after {lines[-1:]}: {done.stderr[-1500:]}"
    return Counter(line.partition(":")[2] for line in lines)


def _child(write: Callable[[Path], None], read: Callable[[int, Path], str], first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with TemporaryDirectory() as folder:
        write(Path(folder))
        for seed in range(first, first + count):
            print(seed, end=":", flush=True)
            print(read(seed, Path(folder)), flush=True)


def main(
    module: str, compare: Callable[..., str], write: Callable[[Path], None], read: Callable[[int, Path], str]
) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="odd files")
    parser.add_argument("--flips", type=int, default=100, help="damaged files")
    parser.add_argument("--first", type=int, default=0, help="seed of the first ones")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(write, read, *given.child)
        return
    outcomes, wrong = Counter(), 0
    for seed in range(given.first, given.first + given.count):
        try:
            outcomes[compare(seed)] += 1
        except AssertionError as error:
            wrong += 1
            print(f"seed {seed}: {error}")
    print(f"odd files: {dict(outcomes)}, {wrong} wrong")
    print(f"damaged files: {dict(flip_in_a_child(given.first, given.flips, module))}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main(__spec__.name, compare, write_bases, read_flipped)
