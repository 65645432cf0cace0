"""Resampling a real scan to 1 mm on one core, against TotalSegmentator's resampler and MONAI's `Spacing`."""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"))  # before the imports

import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from measure import Call, Candidate, Row, arguments, compare, demo_scan, measure, memory_mb, report

from meddiff.stages.memory import resampling_bytes
from meddiff.volumes import volumes
from meddiff.volumes.resample import resample_ct, resample_onto

SPACING_MM = 1.0
SMOOTH_PER_MM, FINE_PER_MM = 0.1, 0.58  # bands along each axis: waves of 10 mm and longer; some too fine for 1 mm
WAVES = (
    ((0.7, 0.7, 2.5), SMOOTH_PER_MM),
    ((0.6, 0.6, 0.6), SMOOTH_PER_MM),
    ((1.5, 1.5, 1.5), SMOOTH_PER_MM),
    ((0.6, 0.6, 0.6), FINE_PER_MM),
)
MEAN_HU = 600  # no wave reaches air's -1024, which ours does not fall below
MARGIN_VOX = 6
LARGE_ZYX = (1200, 1024, 1024)


def main() -> None:
    more = {"scan": {"type": Path, "help": "CT; default: the demo's chest"}, "large": {"action": "store_true"}}
    options = arguments(__doc__ or "", **more)
    if options.large:
        return large()
    with tempfile.TemporaryDirectory() as folder:
        scan = options.scan or demo_scan(Path(folder))
        rows = speed(_middle(scan, Path(folder)), 1) if options.quick else speed(scan, 5)
    report("resample", rows + quality(), options.json)


def speed(scan: Path, repeats: int) -> list[Row]:
    """Compare the seconds, without reading and writing; all peers interpolate linearly but for their defaults."""
    found = measure(
        {
            "ours": Candidate(ours, (scan,)),
            "monai-spacing": Candidate(monai, (scan, "float32")),
            "monai-spacing-default": Candidate(monai, (scan, "float64")),
            "totalsegmentator": Candidate(totalsegmentator, (scan, 1)),
            "totalsegmentator-cubic": Candidate(totalsegmentator, (scan, 3)),
            "simpleitk": Candidate(simpleitk, (scan,)),
        },
        repeats,
    )
    image = volumes.read_ct(scan)
    size, spacing = ("x".join(f"{value:.4g}" for value in values) for values in (image.GetSize(), image.GetSpacing()))
    case = f"{size} of {spacing} mm"
    mine = found.pop("ours")
    return [compare(case, "seconds", mine.seconds, peer.seconds, name) for name, peer in found.items()]


def ours(scan: Path) -> Call:
    image = volumes.read_ct(scan)
    return lambda: _done(resample_ct(image, SPACING_MM))


def simpleitk(scan: Path) -> Call:
    """Return linear resampling by ITK, without a filter against aliasing."""
    image, grid = volumes.read_ct(scan), resample_ct(volumes.read_ct(scan), SPACING_MM)
    return lambda: _done(volumes.onto(image, grid))


def monai(scan: Path, dtype: str) -> Call:
    torch.set_num_threads(1)
    image = volumes.read_ct(scan)
    transform, tensor = _monai(image, dtype)
    return lambda: _done(transform(tensor).round().to(torch.int16))


def totalsegmentator(scan: Path, order: int) -> Call:
    from totalsegmentator.resampling import change_spacing

    nifti = _nifti(volumes.read_ct(scan))
    return lambda: _done(change_spacing(nifti, SPACING_MM, order=order, nr_cpus=1, dtype=np.int16))


def quality() -> list[Row]:
    """Compare the errors on waves whose values are known everywhere, in HU, each peer on its own grid.

    The truth is of the waves that the new grid can show: the others should be gone, and alias where they are not.
    TotalSegmentator's voxels do not lie where the affine that it returns says; they are taken where they do lie.
    """
    rows = []
    for spacing, band in WAVES:
        scan = _scan_of_waves(spacing, band)
        peers = {"monai-spacing": _on_monai_grid(scan)}
        peers |= {f"totalsegmentator{name}": _on_zoom_grid(scan, order) for name, order in (("", 1), ("-cubic", 3))}
        for name, theirs in peers.items():
            mine = resample_onto(scan, theirs)
            case = f"waves up to {band} per mm at {'x'.join(map(str, spacing))} mm"
            rows.append(compare(case, "rmse_hu", _error(mine, band), _error(theirs, band), name))
    return rows


def large() -> None:
    """Print the peak memory of the largest scan beside what `resampling_bytes` says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.nii"
        noise = np.random.default_rng(0).integers(-1024, 2000, LARGE_ZYX[1:]).astype(np.int16)
        with path.open("wb") as file:
            file.write(_nifti_header(LARGE_ZYX, (0.5, 0.5, 0.8)))
            for _ in range(LARGE_ZYX[0]):
                file.write(noise.tobytes())
        before_mb, began = memory_mb(), time.perf_counter()
        image = volumes.read_ct(path)
        read = time.perf_counter()
        out = resample_ct(image, SPACING_MM)
        resampled = time.perf_counter()
        volumes.write_image(out, path.with_name("out.nii.gz"))
        steps = (read - began, resampled - read, time.perf_counter() - resampled)
        print("read {:.0f} s, resampled {:.0f} s, written {:.0f} s".format(*steps))
        stated_mb = resampling_bytes(path, SPACING_MM) / 1e6
        print(f"{LARGE_ZYX} int16: peak {memory_mb() - before_mb:.0f} MB, stated {stated_mb:.0f} MB")


def _middle(scan: Path, folder: Path) -> Path:
    """Write an eighth of a scan, for a quick run."""
    image = volumes.read_ct(scan)
    start, stop = ([n * part // 4 for n in image.GetSize()[::-1]] for part in (1, 3))
    volumes.write_image(volumes.crop(image, tuple(start), tuple(stop)), folder / "middle.nii.gz")
    return folder / "middle.nii.gz"


def _done(result: object) -> None:
    """Keep no result: it would be sent from process to process."""


def _scan_of_waves(spacing_xyz_mm: tuple[float, float, float], band_per_mm: float) -> sitk.Image:
    size = [round(90 / spacing) for spacing in spacing_xyz_mm]
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing(spacing_xyz_mm)
    return volumes.like(np.round(_waves(image, band_per_mm)).astype(np.int16), image)


def _waves(grid: sitk.Image, band_per_mm: float) -> np.ndarray:
    """Return the waves of a band that a grid can show."""
    rng = np.random.default_rng(0)
    waves = rng.uniform(-band_per_mm, band_per_mm, (30, 3))
    shown = (np.abs(waves) < 0.5 / np.array(grid.GetSpacing())).all(1)
    factors = 400 / np.sqrt(30) * shown * np.exp(1j * rng.uniform(0, 2 * np.pi, 30))
    sizes = zip(grid.GetOrigin(), grid.GetSpacing(), grid.GetSize(), strict=True)
    axes_mm = [origin + spacing * np.arange(size) for origin, spacing, size in sizes]
    x, y, z = (np.exp(2j * np.pi * waves[:, [axis]] * axes_mm[axis]) for axis in range(3))
    return MEAN_HU + np.einsum("n,nz,ny,nx->zyx", factors, z, y, x, optimize=True).real


def _error(image: sitk.Image, band_per_mm: float) -> float:
    inner = (slice(MARGIN_VOX, -MARGIN_VOX),) * 3
    return float(np.sqrt(np.mean((volumes.to_zyx(image) - _waves(image, band_per_mm))[inner] ** 2)))


def _monai(image: sitk.Image, dtype: str) -> tuple:
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    affine = torch.diag(torch.tensor([*image.GetSpacing(), 1.0], dtype=torch.float64))
    voxels = torch.from_numpy(volumes.to_zyx(image).T[None].copy())
    transform = Spacing((SPACING_MM,) * 3, mode="bilinear", padding_mode="border", dtype=getattr(np, dtype))
    return transform, MetaTensor(voxels, affine=affine)


def _on_monai_grid(scan: sitk.Image) -> sitk.Image:
    transform, tensor = _monai(scan, "float32")
    result = transform(tensor)
    origin = (np.array(scan.GetOrigin()) + result.affine.numpy()[:3, 3]).tolist()
    return volumes.from_zyx(result[0].round().numpy().T.astype(np.int16).copy(), SPACING_MM, tuple(origin))


def _nifti(image: sitk.Image):
    import nibabel

    return nibabel.Nifti1Image(volumes.to_zyx(image).T, np.diag([*image.GetSpacing(), 1.0]))


def _on_zoom_grid(scan: sitk.Image, order: int) -> sitk.Image:
    from totalsegmentator.resampling import change_spacing

    voxels = np.asarray(change_spacing(_nifti(scan), SPACING_MM, order=order, nr_cpus=1).dataobj)
    result = volumes.from_zyx(np.round(voxels.T).astype(np.int16).copy(), SPACING_MM, scan.GetOrigin())
    ends = (np.array(scan.GetSize()) - 1) / (np.array(result.GetSize()) - 1)  # first and last voxels coincide
    result.SetSpacing((ends * scan.GetSpacing()).tolist())
    return result


def _nifti_header(size_zyx: tuple[int, int, int], spacing_xyz_mm: tuple[float, float, float]) -> bytes:
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(size_zyx[::-1])
    header.set_zooms(spacing_xyz_mm)
    header.set_sform(np.diag([*spacing_xyz_mm, 1.0]), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4)


if __name__ == "__main__":
    main()
