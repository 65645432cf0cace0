"""Odd but legal DICOM series of a CT, each with the truth: where its voxels lie, what they are, whether it is refused.

Every draw is that of its seed. `differential` compares what readers make of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from tests.volumes.dicom.files import set_pixels, write_enhanced, write_series

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
)  # fmt: skip
NAMES = ("{z}.dcm", "IM{z:05d}", "1.2.840.{z}", "{z:04d}.IMA", "slice {z} (é).DCM")


@dataclass
class OddSeries:
    """A folder and the truth: voxel (i, j, k) of `hu_zyx` lies at `axes_mm @ (i, j, k) + origin_mm`, LPS.

    `files` are those of the slices, in their order, or the one multi-frame file, its frames shuffled or not.
    """

    folder: Path
    files: list[Path]
    hu_zyx: np.ndarray
    origin_mm: np.ndarray
    axes_mm: np.ndarray
    is_tilted: bool = False
    is_shuffled: bool = False
    has_low_sign: bool = False  # below the highest bit, which dcm2niix does not look for
    why_not: str = ""  # what it may, and must, be refused for

    @property
    def is_multi_frame(self) -> bool:
        return len(self.files) < len(self.hu_zyx)


def draw(seed: int, folder: Path) -> OddSeries:
    rng = np.random.default_rng(seed)
    return multi_frame(rng, folder) if rng.random() < 0.15 else slices(rng, folder)


def slices(rng: np.random.Generator, folder: Path) -> OddSeries:
    stored, stored_type = draw_stored(rng)
    spacing_mm = np.round(rng.uniform(0.3, 3, 2), int(rng.integers(1, 7)))
    cosines, way, is_tilted = draw_directions(rng)
    origin_mm, step_mm = np.round(rng.uniform(-300, 300, 3), 3), float(np.round(rng.uniform(0.3, 6), 3))
    rescale = [draw_rescale(rng)] * len(stored)
    if rng.random() < 0.2:  # of each slice its own
        rescale = [
            (slope * factor, intercept)
            for (slope, intercept), factor in zip(rescale, draw_factors(rng, stored), strict=True)
        ]
    jitter = 1e-7 * rng.choice([0, 1], p=[0.7, 0.3]) * rng.uniform(-1, 1, (len(stored), 6))
    syntax = SYNTAXES[int(rng.integers(len(SYNTAXES)))]
    name = str(rng.choice(NAMES))
    order = rng.permutation(len(stored)) if rng.random() < 0.5 else np.arange(len(stored))
    bits = 12 if rng.random() < 0.3 and np.abs(stored).max() < 2048 else 16

    def edit(number: int, tags: pydicom.Dataset) -> None:
        z = int(order[number])
        set_pixels(tags, stored[z], [f"{value:.8g}" for value in rescale[z]])
        tags.ImageOrientationPatient = [f"{value:.11f}"[:16] for value in cosines + jitter[z]]
        tags.BitsStored, tags.HighBit, tags.InstanceNumber = bits, bits - 1, int(rng.integers(1, 99))
        if stored_type == np.int16 and bits < 16:
            tags.PixelData = (stored[z] & 0x0FFF).astype(np.int16).tobytes()

    write_series(
        folder,
        np.zeros(stored.shape, np.int16),
        spacing_mm=[f"{value:.6f}" for value in spacing_mm],
        positions_mm=[origin_mm + way * step_mm * z for z in order],
        edit=edit,
        name=name,
    )
    for path in folder.iterdir():
        encode(path, syntax)
    axes_mm = np.column_stack([cosines[:3] * spacing_mm[1], cosines[3:] * spacing_mm[0], way * step_mm])
    hu_zyx = np.array(
        [s * float(f"{a:.8g}") + float(f"{b:.8g}") for s, (a, b) in zip(stored.astype(float), rescale, strict=True)]
    )
    files = [folder / name.format(number=1, z=number) for number in np.argsort(order)]
    odd = OddSeries(folder, files, hu_zyx, origin_mm, axes_mm, is_tilted, False, stored_type == np.int16 and bits < 16)
    return spoil(rng, odd) if rng.random() < 0.2 else odd


def multi_frame(rng: np.random.Generator, folder: Path) -> OddSeries:
    """Draw an enhanced CT; its pixels and steps are those of `write_enhanced`."""
    shape = tuple(int(n) for n in rng.integers((2, 3, 3), 9))
    rescale, start_mm = (float(rng.choice([0.5, 1.0, 2.0])), -1024.0), float(np.round(rng.uniform(-300, 300), 2))
    hu_zyx = rng.integers(0, 1500, shape) * 2 - 1024
    order = rng.permutation(shape[0]) if rng.random() < 0.5 else np.arange(shape[0])
    folder.mkdir()
    write_enhanced(folder / "a.dcm", hu_zyx, rescale, [int(z) for z in order], start_mm)
    shuffled = bool((order != np.arange(shape[0])).any())
    origin_mm, axes_mm = np.array([0, 0, start_mm]), np.diag([2.0, 2.0, 3.0])
    return OddSeries(folder, [folder / "a.dcm"], hu_zyx.astype(float), origin_mm, axes_mm, False, shuffled)


def draw_stored(rng: np.random.Generator) -> tuple[np.ndarray, type]:
    shape = tuple(int(n) for n in rng.integers((2, 3, 3), 9))
    kind = np.int16 if rng.random() < 0.5 else np.uint16
    low, high = (-2000, 2000) if kind == np.int16 else (0, int(rng.choice([2047, 4095, 60000])))
    return rng.integers(low, high, shape).astype(kind), kind


def draw_directions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the cosines of rows and columns, the way from slice to slice, and whether that is not across them."""
    kind = rng.choice(["axial", "any", "turned", "tilted"], p=[0.4, 0.2, 0.2, 0.2])
    turn = np.eye(3)
    if kind == "any":
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    elif kind == "turned":  # sagittal, coronal, prone, feet first
        turn = Rotation.from_euler("xyz", rng.integers(0, 4, 3) * 90, degrees=True).as_matrix().round()
    elif kind == "tilted":
        turn = Rotation.from_euler("x", rng.uniform(5, 25) * rng.choice([-1, 1]), degrees=True).as_matrix()
        return np.round(turn.T[:2].ravel(), 11), np.array([0.0, 0, 1]), True
    return np.round(turn.T[:2].ravel(), 11), turn[:, 2], False


def draw_rescale(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.choice([1, 1, 1, 0.5, 0.25, 0.1])), float(rng.choice([0, -1024, -1000, -1023.5]))


def draw_factors(rng: np.random.Generator, stored: np.ndarray) -> list[float]:
    return [float(factor) for factor in np.round(rng.uniform(0.3, 1, len(stored)), 3)]


def encode(path: Path, syntax: str) -> None:
    """Write a file of little-endian numbers anew."""
    tags = pydicom.dcmread(path)
    if syntax == RLELossless:
        tags.compress(RLELossless)
        tags.save_as(path)
        return
    fresh = pydicom.Dataset()
    list(tags.iterall())  # decodes
    fresh.update(tags)
    if syntax == ExplicitVRBigEndian:
        fresh.PixelData = np.frombuffer(tags.PixelData, "<u2").astype(">u2").tobytes()
    fresh.file_meta, fresh.preamble = tags.file_meta, b"\0" * 128
    fresh.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, fresh, enforce_file_format=True)


def spoil(rng: np.random.Generator, odd: OddSeries) -> OddSeries:
    """Do to a series what it must be refused for."""
    kind = rng.choice(["cut", "copy", "modality", "gap"])
    last = odd.files[-1]
    if kind == "cut":
        last.write_bytes(last.read_bytes()[: int(rng.integers(400))])
        odd.why_not = "missing" if len(odd.files) > 2 else "a single slice"
    elif kind == "copy":
        last.with_name(f"copy of {last.name}").write_bytes(last.read_bytes())
        odd.why_not = "duplicate slices"
    elif kind == "gap" and len(odd.files) > 3:
        odd.files[1].unlink()
        odd.why_not = "slices are missing"
    else:
        for path in odd.files:
            tags = pydicom.dcmread(path)
            list(tags.iterall())
            del tags.Modality
            tags.save_as(path)
        odd.why_not = "modality is not given"
    return odd
