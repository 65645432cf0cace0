"""A seeded digital body with TotalSegmentator's class ids: the data of the tests.

The body is a list of ellipsoids and elliptic cylinders in millimetres, in an LPS frame whose
origin lies in the middle of the pelvic floor: x to the left, y to posterior, z to superior.
Later shapes cover earlier ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meddiff.anatomy.labels import CLASS_IDS, LUNG, ids
from meddiff.volumes.volumes import AIR_HU

Z_RANGE_MM = {
    "whole_body": (0.0, 870.0),
    "abdomen": (60.0, 410.0),
    "chest": (290.0, 620.0),
    "han": (560.0, 870.0),
}
HALF_WIDTH_MM = {"x": 200.0, "y": 150.0}


@dataclass(frozen=True)
class Phantom:
    """A scan and its labels on one grid: `ct_zyx` int16 HU, `labels_zyx` uint8 TotalSegmentator ids."""

    ct_zyx: np.ndarray
    labels_zyx: np.ndarray
    spacing_mm: float


@dataclass(frozen=True)
class Shape:
    """An ellipsoid, or an elliptic cylinder along z when `cylinder` is set (then radii z is half its height)."""

    name: str
    hu: float
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    cylinder: bool = False


def make_phantom(seed: int, spacing_mm: float = 4.0, extent: str = "whole_body") -> Phantom:
    """Return a body whose size, organ places and densities are drawn from the seed."""
    rng = np.random.default_rng(seed)
    z_low, z_high = Z_RANGE_MM[extent]
    x_mm, y_mm, z_mm = (
        np.arange(-HALF_WIDTH_MM["x"], HALF_WIDTH_MM["x"], spacing_mm),
        np.arange(-HALF_WIDTH_MM["y"], HALF_WIDTH_MM["y"], spacing_mm),
        np.arange(z_low, z_high, spacing_mm),
    )
    ct_zyx = np.full((len(z_mm), len(y_mm), len(x_mm)), float(AIR_HU), np.float32)
    labels_zyx = np.zeros(ct_zyx.shape, np.uint8)
    scale = rng.uniform(0.92, 1.06, 3)
    for shape in body_shapes():
        centre = np.array(shape.centre_mm) + rng.uniform(-3, 3, 3) * (shape.name not in _SPINE)
        radii = np.array(shape.radii_mm) * rng.uniform(0.94, 1.06, 3)
        window, inside = _rasterise(shape.cylinder, centre * scale, radii * scale, (x_mm, y_mm, z_mm))
        if shape.name == "pulmonary_vein":  # only where they run through the lungs
            inside &= np.isin(labels_zyx[window], ids(*LUNG))
        ct_zyx[window][inside] = shape.hu + rng.uniform(-12, 12)
        labels_zyx[window][inside] = CLASS_IDS.get(shape.name, 0)
    texture = ndimage.gaussian_filter(rng.standard_normal(ct_zyx.shape, np.float32), 1.0)
    ct_zyx += 40.0 * texture * (ct_zyx > AIR_HU)
    ct_zyx = ndimage.gaussian_filter(ct_zyx, 0.4)
    return Phantom(np.clip(ct_zyx, AIR_HU, 3000).astype(np.int16), labels_zyx, spacing_mm)


def add_lesion(phantom: Phantom, organ: str, radius_mm: float, hu: float, seed: int) -> tuple[Phantom, np.ndarray]:
    """Return the phantom with a spherical lesion inside an organ, and the lesion's boolean mask.

    Raises:
        ValueError: the organ is not in the phantom.
    """
    organ_zyx = phantom.labels_zyx == CLASS_IDS[organ]
    if not organ_zyx.any():
        raise ValueError(f"no {organ} in this phantom")
    depth = ndimage.distance_transform_edt(organ_zyx)
    candidates = np.argwhere(depth >= min(depth.max(), radius_mm / phantom.spacing_mm))
    centre = candidates[np.random.default_rng(seed).integers(len(candidates))]
    grid = np.indices(organ_zyx.shape) - centre[:, None, None, None]
    lesion_zyx = (grid**2).sum(0) <= (radius_mm / phantom.spacing_mm) ** 2
    ct_zyx = phantom.ct_zyx.copy()
    ct_zyx[lesion_zyx] = hu
    return Phantom(ct_zyx, phantom.labels_zyx, phantom.spacing_mm), lesion_zyx


def add_lung_lesions(phantom: Phantom, seed: int) -> tuple[Phantom, np.ndarray]:
    """Return a chest with two lesions of low contrast, about -500 HU and with texture, and their boolean mask."""
    rng = np.random.default_rng(seed)
    lesions_zyx = np.zeros(phantom.labels_zyx.shape, bool)
    for organ in ("lung_upper_lobe_left", "lung_lower_lobe_right"):
        radius_mm, hu = rng.uniform(12, 20), rng.uniform(-550, -450)
        phantom, lesion_zyx = add_lesion(phantom, organ, radius_mm, hu, int(rng.integers(2**31)))
        lesions_zyx |= lesion_zyx
    texture = (25 * rng.standard_normal(int(lesions_zyx.sum()))).astype(np.int16)
    phantom.ct_zyx[lesions_zyx] += texture
    return phantom, lesions_zyx


def add_low_dose_noise(phantom: Phantom, noise_hu: float, seed: int) -> Phantom:
    """Return the phantom with in-plane correlated noise of the given standard deviation inside the field of view."""
    noise = np.random.default_rng(seed).standard_normal(phantom.ct_zyx.shape)
    noise = ndimage.gaussian_filter(noise, (0, 0.7, 0.7))
    ct_zyx = phantom.ct_zyx + noise_hu * noise / noise.std()
    return Phantom(np.clip(ct_zyx, AIR_HU, 3000).astype(np.int16), phantom.labels_zyx, phantom.spacing_mm)


def body_shapes() -> list[Shape]:
    """Return the shapes of an average body, from the outside in."""
    return [*_outline(), *_skeleton(), *_chest_organs(), *_abdominal_organs(), *_head(), *_spine(), *_pulmonary_veins()]


_VERTEBRAE = (
    [(f"vertebrae_L{i}", 34.0) for i in (5, 4, 3, 2, 1)]
    + [(f"vertebrae_T{i}", 23.0) for i in range(12, 0, -1)]
    + [(f"vertebrae_C{i}", 15.0) for i in range(7, 0, -1)]
)
_SPINE = {name for name, _ in _VERTEBRAE} | {"spinal_cord", "sacrum"}


def _outline() -> list[Shape]:
    fat, muscle = -95.0, 50.0
    return [
        Shape("body", fat, (0, 0, 290), (165, 112, 320), cylinder=True),
        Shape("body", muscle, (0, 0, 290), (150, 97, 320), cylinder=True),
        Shape("body", fat, (0, 10, 640), (62, 62, 80), cylinder=True),
        Shape("body", muscle, (0, 10, 640), (54, 54, 80), cylinder=True),
        Shape("body", muscle, (0, 0, 770), (82, 100, 95)),
        Shape("body", fat, (0, -10, 240), (120, 70, 150)),
    ]


def _skeleton() -> list[Shape]:
    bones = [
        Shape("hip_right", 400, (-95, 30, 95), (35, 45, 70)),
        Shape("hip_left", 400, (95, 30, 95), (35, 45, 70)),
        Shape("femur_right", 500, (-120, 10, 20), (24, 24, 40)),
        Shape("femur_left", 500, (120, 10, 20), (24, 24, 40)),
        Shape("sternum", 300, (0, -92, 480), (18, 7, 80)),
        Shape("scapula_right", 400, (-105, 80, 540), (40, 10, 55)),
        Shape("scapula_left", 400, (105, 80, 540), (40, 10, 55)),
        Shape("clavicula_right", 450, (-80, -50, 598), (60, 8, 8)),
        Shape("clavicula_left", 450, (80, -50, 598), (60, 8, 8)),
    ]
    for i in range(1, 13):
        for side, sign in (("right", -1), ("left", 1)):
            z_mm = 585 - 18.5 * (i - 1)
            bones.append(Shape(f"rib_{side}_{i}", 420, (sign * 128, 10, z_mm), (10, 62, 6)))
    return bones


def _chest_organs() -> list[Shape]:
    return [
        Shape("lung_upper_lobe_right", -840, (-72, -5, 530), (52, 68, 66)),
        Shape("lung_middle_lobe_right", -840, (-76, -40, 450), (50, 45, 50)),
        Shape("lung_lower_lobe_right", -820, (-76, 25, 445), (54, 58, 85)),
        Shape("lung_upper_lobe_left", -840, (72, -12, 520), (52, 66, 78)),
        Shape("lung_lower_lobe_left", -820, (78, 25, 445), (50, 56, 85)),
        Shape("heart", 90, (18, -32, 440), (55, 42, 52)),
        Shape("superior_vena_cava", 110, (-25, -15, 530), (10, 10, 35)),
        Shape("trachea", -950, (0, 12, 580), (10, 10, 65), cylinder=True),
        Shape("esophagus", 30, (5, 38, 500), (9, 7, 110), cylinder=True),
        Shape("thyroid_gland", 110, (0, -25, 625), (26, 12, 16)),
        Shape("aorta", 170, (18, 45, 400), (13, 13, 150), cylinder=True),
        Shape("aorta", 170, (5, 10, 535), (13, 40, 16)),
    ]


def _pulmonary_veins() -> list[Shape]:
    """Return the veins inside the lungs: brighter than many a lesion, and healthy."""
    veins = []
    for sign in (-1, 1):
        veins += [
            Shape("pulmonary_vein", 20, (sign * 66, 5, 478), (40, 8, 8)),
            Shape("pulmonary_vein", 20, (sign * 70, 2, 520), (8, 8, 50)),
            Shape("pulmonary_vein", 20, (sign * 80, 25, 440), (8, 8, 55)),
            Shape("pulmonary_vein", 20, (sign * 72, 30, 480), (8, 40, 8)),
            Shape("pulmonary_vein", 20, (sign * 72, -30, 470), (8, 40, 8)),
        ]
    return veins


def _abdominal_organs() -> list[Shape]:
    return [
        Shape("liver", 105, (-68, -10, 320), (75, 75, 62)),
        Shape("gallbladder", 12, (-45, -60, 280), (14, 18, 20)),
        Shape("stomach", 35, (62, -30, 315), (42, 38, 48)),
        Shape("spleen", 115, (105, 40, 320), (28, 35, 42)),
        Shape("pancreas", 85, (10, -15, 268), (55, 13, 14)),
        Shape("duodenum", 40, (-38, -12, 245), (18, 17, 32)),
        Shape("kidney_right", 150, (-62, 48, 255), (28, 26, 48)),
        Shape("kidney_left", 150, (64, 48, 265), (28, 26, 48)),
        Shape("small_bowel", 30, (0, -40, 170), (85, 40, 60)),
        Shape("colon", 0, (-112, -15, 190), (20, 22, 75)),
        Shape("colon", 0, (112, -15, 200), (20, 22, 80)),
        Shape("colon", 0, (0, -75, 235), (100, 15, 18)),
        Shape("inferior_vena_cava", 120, (-20, 35, 280), (12, 11, 110), cylinder=True),
        Shape("urinary_bladder", 8, (0, -30, 60), (42, 36, 34)),
        Shape("sacrum", 300, (0, 70, 125), (45, 22, 50)),
        Shape("autochthon_right", 60, (-35, 82, 330), (28, 20, 200)),
        Shape("autochthon_left", 60, (35, 82, 330), (28, 20, 200)),
    ]


def _head() -> list[Shape]:
    return [
        Shape("skull", 900, (0, 2, 790), (76, 92, 72)),
        Shape("skull", 700, (0, -55, 725), (50, 35, 40)),
        Shape("brain", 35, (0, 4, 792), (68, 84, 64)),
    ]


def _spine() -> list[Shape]:
    shapes, z_mm = [], 178.0
    for name, height_mm in _VERTEBRAE:
        width_mm = 26.0 if height_mm > 30 else 18.0 if height_mm > 20 else 14.0
        centre = (0.0, 62.0 if z_mm < 560 else 25.0, z_mm + height_mm / 2)
        shapes.append(Shape(name, 280, centre, (width_mm, width_mm, height_mm / 2 - 1.5), cylinder=True))
        z_mm += height_mm
    shapes.append(Shape("spinal_cord", 25, (0, 74, 400), (7, 6, 160), cylinder=True))
    shapes.append(Shape("spinal_cord", 25, (0, 37, 650), (7, 6, 80), cylinder=True))
    return shapes


def _rasterise(
    cylinder: bool, centre_mm: np.ndarray, radii_mm: np.ndarray, axes_xyz_mm: tuple[np.ndarray, ...]
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the index window of a shape in the `zyx` grid and the boolean mask inside that window."""
    windows, offsets = [], []
    for axis_mm, centre, radius in zip(axes_xyz_mm, centre_mm, radii_mm, strict=True):
        first, last = np.searchsorted(axis_mm, (centre - radius, centre + radius))
        windows.append(slice(first, last))
        offsets.append((axis_mm[first:last] - centre) / radius)
    x, y, z = offsets
    along_z = np.zeros_like(z) if cylinder else z**2
    inside = along_z[:, None, None] + (y**2)[None, :, None] + (x**2)[None, None, :] <= 1.0
    return tuple(windows[::-1]), inside
