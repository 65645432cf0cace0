"""Super-resolution of scans with thick slices, simulated or measured, and how near it comes to the thin ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import torch

from meddiff.anatomy.label import label_anatomy
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import SUPER_RESOLVERS, Config
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case
from meddiff.errors import UserError
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, read_json
from meddiff.machine.shards import Item, Row, run_shard, sidecar
from meddiff.model.control_bundle import learned_slices
from meddiff.store.query import where
from meddiff.store.record import Record, save_array
from meddiff.store.thick_slices import b_spline, interpolate, interpolated, thicken, thin_grid
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.super_resolution import ThickScan, super_resolve
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise
from meddiff.volumes.resample import axis_aligned_grid, resample_onto

LINEAR, B_SPLINE, CONTROLNET, DIFFPIR = SUPER_RESOLVERS
END_SLICES = 5  # RPLHR-CT leaves out as many at each end
SSIM_SIGMA = 1.5  # scikit-image cuts its Gaussian off at 3.5 sigma: 11 voxels

SuperResolver = Callable[[ThickScan], np.ndarray]


def choose_thick(records: list[Record], cases: list[Case], most: int) -> list[tuple[Record, Case]]:
    """Return the test regions: those of cases with thick slices, or a few held-out ones to simulate them for."""
    case_of = {(case.dataset, case.case): case for case in cases}
    known = [(record, case_of[record.meta.dataset, record.meta.case]) for record in where(records, split="test")]
    if measured := [(record, case) for record, case in known if case.thick]:
        return measured
    simulated = [pair for pair in known if pair[1].role == "pretraining"]
    return sorted(simulated, key=lambda pair: digest(pair[0].id))[:most]


def write_thick(chosen: list[tuple[Record, Case]], resampled: list[Row], config: Config, index: Path) -> None:
    """Write thick slices, thin slices and anatomy of every chosen region.

    The anatomy is that of the scan with thick slices, interpolated: nothing of the thin ones is known to it.
    """
    factor, resampled_of = config.super_resolution.factor, {row.id: row.path for row in resampled}

    def work(item: Item) -> dict[str, Any]:
        record, case = item.of
        if case.thick:
            thick, thin = _measured(case, record, factor)
        else:
            thick, thin = _simulated(volumes.read_image(resampled_of[case.id]), record, factor)
        labels_zyx = label_anatomy(interpolated(thick, factor), segmenter, config.anatomy.body_threshold_hu)
        volumes.write_image(volumes.like(labels_zyx, thin), anatomy_path(item.output))
        volumes.write_image(thin, thin_path(item.output))
        volumes.write_image(thick, item.output)
        return {"simulated": case.thick is None, "region": record.meta.region}

    items = [
        Item(r.id, (r.path, case.thick or resampled_of[case.id]), index.parent / f"{r.id}.nii.gz", of=(r, case))
        for r, case in chosen
    ]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        run_shard("thick slices", items, settings_of(config, "thick_slices"), work, index)


def choose_learned(records: list[Record], cases: list[Case]) -> list[tuple[Record, Case]]:
    """Return the regions with measured thick slices to learn from: RPLHR-CT's own training and validation split."""
    case_of = {(case.dataset, case.case): case for case in cases if case.thick}
    keys = [(record, (record.meta.dataset, record.meta.case)) for record in records if record.meta.split != "test"]
    return [(record, case_of[key]) for record, key in keys if key in case_of]


def write_learned(chosen: list[tuple[Record, Case]], config: Config, index: Path) -> None:
    """Write the measured thick slices of every region, linearly interpolated onto the region's own voxels, int16 HU."""
    factor = config.super_resolution.factor

    def work(item: Item) -> None:
        record, case = item.of
        if case.thick is None:
            raise ValueError(f"{case.id} has no thick slices")
        region = record.as_image(np.zeros(record.meta.size_zyx, np.int16))
        source, spacing_mm = volumes.read_ct(case.thick), record.meta.spacing_mm
        slices = axis_aligned_grid(source, (spacing_mm, spacing_mm, spacing_mm * factor))
        grid = sitk.Image([*region.GetSize()[:2], slices.GetDepth()], sitk.sitkUInt8)  # the region's rows and columns
        grid.SetSpacing(slices.GetSpacing())
        grid.SetOrigin((*region.GetOrigin()[:2], slices.GetOrigin()[2]))
        save_array(volumes.to_zyx(volumes.onto(resample_onto(source, grid), region)), item.output)

    items = [
        Item(r.id, (r.path, case.thick), index.parent / f"{r.id}.b2nd", of=(r, case))
        for r, case in chosen
        if case.thick
    ]
    run_shard("measured slices", items, settings_of(config, "measured_slices"), work, index)


class Method(NamedTuple):
    """One of `SUPER_RESOLVERS`, ready to run: what decides its results, and what is said of each of them."""

    name: str
    run: SuperResolver
    decisive: tuple[str, ...]
    facts: dict[str, Any]


def prepare_method(name: str, config: Config, model: Path, control: Path) -> Method:
    """Return a method with the weights that it needs.

    Args:
        name: one of `SUPER_RESOLVERS`.
        config: the sections of the stage `super_resolve`.
        model: bundle of the foundation model.
        control: bundle of its ControlNet for super-resolution.

    Raises:
        UserError: there is no such method.
    """
    if name not in SUPER_RESOLVERS:
        raise UserError(f"--method {name!r} is unknown; choose from {', '.join(SUPER_RESOLVERS)}")
    settings = config.super_resolution
    if name == LINEAR:
        return Method(name, lambda scan: _as_hu(_linear(scan.thick_zyx, settings.factor)), (name,), {})
    if name == B_SPLINE:
        return Method(name, lambda scan: _as_hu(b_spline(scan.thick_zyx, settings.factor)), (name,), {})
    sampler = Sampler(model, config.sampling, config.machine, control)

    def run(scan: ThickScan) -> np.ndarray:
        return super_resolve(sampler, scan, settings, config.seed, pulled=name == DIFFPIR)

    return Method(name, run, (name, sampler.checksum), {"learned_from": learned_slices(control)})


def super_resolve_all(method: Method, rows: list[Row], store: list[Record], config: Config, index: Path) -> list[Row]:
    """Write the thin slices that one method makes, and score them.

    Args:
        method: the method.
        rows: index of the thick scans.
        store: all records.
        config: the sections of the stage `super_resolve`.
        index: that of the results.
    """
    records = {record.id: record for record in store}

    def work(item: Item) -> dict[str, Any]:
        row = item.of
        scan, thin = read_scan(row, records[row.id])
        result = method.run(scan)
        volumes.write_image(volumes.like(result, thin), item.output)
        facts = read_json(sidecar(row.path))["details"] | method.facts
        return facts | fidelity_of_slices(result, volumes.to_zyx(thin), scan)

    items = [Item(row.id, (row.path,), index.parent / f"{row.id}.nii.gz", method.decisive, row) for row in rows]
    return run_shard(f"super-resolve {method.name}", items, settings_of(config, "super_resolve"), work, index)


def fidelity_of_slices(result_zyx: np.ndarray, thin_zyx: np.ndarray, scan: ThickScan) -> dict[str, float]:
    """Return PSNR of the volume and the mean SSIM of its axial slices by RPLHR-CT's protocol.

    Both have a data range of 1, SSIM a Gaussian of 11 voxels, and the first and last 5 slices are left out.
    Choice: the range 0 to 1 is the region's HU window.
    """
    from skimage.metrics import structural_similarity

    inner = slice(END_SLICES, -END_SLICES) if len(thin_zyx) > 2 * END_SLICES else slice(None)
    found, truth = ((normalise(hu[inner], scan.window) + 1) / 2 for hu in (result_zyx, thin_zyx))
    error = float(np.mean((found - truth) ** 2, dtype=np.float64))
    gaussian = {"gaussian_weights": True, "sigma": SSIM_SIGMA, "use_sample_covariance": False}
    ssim = [structural_similarity(a, b, data_range=1.0, **gaussian) for a, b in zip(truth, found, strict=True)]
    return {"psnr": float(-10 * np.log10(error)) if error else float("inf"), "ssim": float(np.mean(ssim))}


def read_scan(row: Row, record: Record) -> tuple[ThickScan, sitk.Image]:
    """Return a scan with thick slices and the true thin ones."""
    thick, anatomy = (volumes.to_zyx(volumes.read_image(path)) for path in (row.path, anatomy_path(row.path)))
    scan = ThickScan(thick.astype(np.float32), anatomy, record.meta.region, record.meta.window)
    return scan, volumes.read_image(thin_path(row.path))


def thin_path(thick: Path) -> Path:
    return thick.with_name(thick.name.replace(".nii.gz", ".thin.nii.gz"))


def anatomy_path(thick: Path) -> Path:
    return thick.with_name(thick.name.replace(".nii.gz", ".anatomy.nii.gz"))


def _simulated(resampled: sitk.Image, record: Record, factor: int) -> tuple[sitk.Image, sitk.Image]:
    """Return thick and thin slices of a stored region; the last slices that fill no thick one are left out."""
    region = volumes.onto(resampled, record.as_image(np.zeros(record.meta.size_zyx, np.int16)))
    thin = region[:, :, : region.GetDepth() // factor * factor]
    thick_zyx = thicken(torch.from_numpy(volumes.to_zyx(thin)), factor).numpy()
    thick = sitk.GetImageFromArray(np.round(thick_zyx).astype(np.int16))
    x_mm, y_mm, z_mm = thin.GetSpacing()
    thick.SetSpacing((x_mm, y_mm, z_mm * factor))
    thick.SetOrigin(thin.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, (factor - 1) / 2)))
    return thick, thin


def _measured(case: Case, record: Record, factor: int) -> tuple[sitk.Image, sitk.Image]:
    """Return the thick slices of a scan as they were measured, in the record's region, and the thin ones beneath."""
    if case.thick is None:
        raise ValueError(f"{case.id} has no thick slices")
    source, spacing_mm = volumes.read_ct(case.thick), record.meta.spacing_mm
    thick = resample_onto(source, axis_aligned_grid(source, (spacing_mm, spacing_mm, spacing_mm * factor)))
    region = record.as_image(np.zeros(record.meta.size_zyx, np.uint8))
    ends = (region.GetOrigin(), region.TransformIndexToPhysicalPoint([n - 1 for n in region.GetSize()]))
    low, high = (np.round(thick.TransformPhysicalPointToContinuousIndex(point)).astype(int) for point in ends)
    start = np.clip(low, 0, thick.GetSize()).tolist()[::-1]
    stop = np.clip(high + 1, 0, thick.GetSize()).tolist()[::-1]
    cut = volumes.crop(thick, tuple(start), tuple(stop))
    return cut, resample_onto(volumes.read_ct(case.image), thin_grid(cut, factor))


def _linear(thick_zyx: np.ndarray, factor: int) -> np.ndarray:
    return interpolate(torch.from_numpy(thick_zyx), factor).numpy()


def _as_hu(hu_zyx: np.ndarray) -> np.ndarray:
    return np.round(hu_zyx).astype(np.int16)
