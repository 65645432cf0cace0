"""Random crops of 128^3, CT and anatomy, on one core: crop store, .nii.gz and MONAI's PersistentDataset."""

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"))  # before the imports

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from measure import Call, Candidate, Row, arguments, compare, compare_rates, demo_scan, measure, report

from meddiff.config import LevelWeights, Region, WindowsConfig
from meddiff.store.patches import PatchDataset, padded
from meddiff.store.record import Record, RecordMeta, write_record
from meddiff.volumes import volumes
from meddiff.volumes.hu import clip_hu
from meddiff.volumes.resample import resample_ct

CROP_VOX = 128
AT_ONCE = {"store": 16, "nii.gz": 1, "nii.gz-region": 1, "monai-persistent": 4, "samples": 16}  # crops in one call


def main() -> None:
    options = arguments(__doc__ or "", scan={"type": Path, "help": "CT; default: the demo's chest"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options.scan or demo_scan(folder), folder)
        rows = crops(folder, repeats=3 if options.quick else 15) + sizes(folder)
    report("store", rows, options.json)


def prepare(scan: Path, folder: Path) -> None:
    """Write a real chest at 1 mm as `.nii.gz`, cut to its window as the store's is, and as a record.

    The labels are those of the scan where they lie beside it, else bands of HU.
    """
    source = volumes.read_ct(scan)
    ct = resample_ct(source, 1.0)
    window = WindowsConfig().chest
    hu_zyx = clip_hu(volumes.to_zyx(ct), window)
    labels = scan.with_name("anatomy.nii.gz")
    if labels.exists():
        of_source = volumes.read_labels(labels, source)
        anatomy = sitk.Resample(of_source, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    else:
        anatomy = volumes.like((hu_zyx // 400 + 4).astype("u1"), ct)
    volumes.write_image(volumes.like(hu_zyx, ct), folder / "ct.nii.gz")
    volumes.write_image(anatomy, folder / "anatomy.nii.gz")
    place = {"spacing_mm": 1.0, "origin_mm": ct.GetOrigin(), "size_zyx": hu_zyx.shape, "window": window}
    names = {"id": "scan", "dataset": "benchmark", "case": "scan", "role": "pretraining", "split": "train"}
    meta = RecordMeta(**names, **place, region=Region.CHEST, anatomy_weights="official")
    write_record(folder / "record", meta, hu_zyx, volumes.to_zyx(anatomy), CROP_VOX)


def crops(folder: Path, repeats: int) -> list[Row]:
    """Compare crops per second and core."""
    builders = {
        "store": from_store,
        "samples": whole_samples,
        "nii.gz": from_nifti,
        "nii.gz-region": from_nifti_region,
        "monai-persistent": from_monai,
    }
    found = measure({name: Candidate(build, (folder,)) for name, build in builders.items()}, repeats)
    rates = {name: AT_ONCE[name] / each.seconds for name, each in found.items()}
    print(f"PatchDataset, level `patch`, scaled and with coordinates: {rates.pop('samples'):.0f} samples a second")
    ours, processor_s = rates.pop("store"), found["store"].result
    print(f"store: {ours:.0f} crops a second, {AT_ONCE['store'] / processor_s:.0f} a second of processor time")
    return [compare_rates("crops of 128^3", "crops_per_s", ours, rate, name) for name, rate in rates.items()]


def sizes(folder: Path) -> list[Row]:
    """Compare the space on disk: all arrays of the record, those of the whole region included, and both volumes."""
    record_mb = sum(path.stat().st_size for path in (folder / "record").iterdir()) / 1e6
    nifti_mb = sum((folder / f"{name}.nii.gz").stat().st_size for name in ("ct", "anatomy")) / 1e6
    return [compare("one region", "disk_mb", record_mb, nifti_mb, "nii.gz")]


def from_store(folder: Path) -> Call:
    record = Record(folder / "record")
    corners = _corners(record.meta.size_zyx)

    def call() -> float:
        began = time.process_time()
        for _ in range(AT_ONCE["store"]):
            corner = next(corners)
            for array in (record.ct, record.anatomy):
                padded(array, corner, (CROP_VOX,) * 3, 0)
        return time.process_time() - began

    return call


def whole_samples(folder: Path) -> Call:
    torch.set_num_threads(1)
    data = PatchDataset([Record(folder / "record")], LevelWeights(image=0, double=0, patch=1), CROP_VOX, 0, 10**6)
    numbers = iter(range(10**6))
    return lambda: [data[next(numbers)] for _ in range(AT_ONCE["samples"])].clear()


def from_nifti(folder: Path) -> Call:
    """Read both volumes whole and cut."""
    corners = _corners(Record(folder / "record").meta.size_zyx)

    def call() -> None:
        start = next(corners)
        for name in ("ct", "anatomy"):
            image = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
            np.ascontiguousarray(sitk.GetArrayViewFromImage(image)[tuple(slice(s, s + CROP_VOX) for s in start)])

    return call


def from_nifti_region(folder: Path) -> Call:
    """Let ITK read no more than the crop; the stream of gzip is still unpacked up to its end."""
    corners = _corners(Record(folder / "record").meta.size_zyx)

    def call() -> None:
        start = next(corners)
        for name in ("ct", "anatomy"):
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(folder / f"{name}.nii.gz"))
            reader.SetExtractIndex(start[::-1])
            reader.SetExtractSize((CROP_VOX,) * 3)
            sitk.GetArrayFromImage(reader.Execute())

    return call


def from_monai(folder: Path) -> Call:
    """Read the volumes from MONAI's cache of tensors and cut."""
    from monai.data import PersistentDataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandSpatialCropd

    torch.set_num_threads(1)
    cache = folder / "monai"
    shutil.rmtree(cache, ignore_errors=True)
    keys = ["ct", "anatomy"]
    load = [LoadImaged(keys, dtype=np.int16), EnsureChannelFirstd(keys)]
    cut = RandSpatialCropd(keys, (CROP_VOX,) * 3, random_size=False)
    files = [{key: str(folder / f"{key}.nii.gz") for key in keys}]
    data = PersistentDataset(files, Compose([*load, cut]), cache_dir=cache)

    def call() -> None:
        for _ in range(AT_ONCE["monai-persistent"]):
            data[0]["ct"].contiguous()

    return call


def _corners(size_zyx: tuple[int, ...]):
    rng = np.random.default_rng(0)
    while True:
        yield [int(rng.integers(0, n - CROP_VOX + 1)) for n in size_zyx]


if __name__ == "__main__":
    main()
