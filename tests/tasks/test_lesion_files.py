"""Lesions for one file: masks read or drawn, results on their own grid, and what is refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.anatomy.labels import BODY
from meddiff.anatomy.masks import read_mask
from meddiff.anatomy.numbering import MaskFile
from meddiff.config import Config, DiffusionConfig, Organ, Region, WindowsConfig
from meddiff.errors import CaseError, UserError
from meddiff.model.foundation import FoundationModel
from meddiff.tasks.lesion_files import Wanted, generate_lesion, inpaint_scan
from meddiff.tasks.scan import read_scan
from meddiff.volumes import volumes
from tests.tasks.test_lesions import LesionNetwork, LesionSampler

SPACING_MM = 6.0
CONFIG = Config(lesions={"inpainting_steps": 2, "jump_length": 1, "resampling": 1, "margin_mm": 12.0})


class Sampler(LesionSampler):
    def __init__(self):
        super().__init__()
        self.model = FoundationModel(self.network, DiffusionConfig(), "test", SPACING_MM, WindowsConfig())


class WhereItIs(LesionNetwork):
    """Draws its place in the region, too."""

    def encode_condition(self, anatomy, coordinates, target):
        return super().encode_condition(anatomy, coordinates, target) + 0.1 * coordinates.mean(1, keepdim=True)


@pytest.fixture(scope="module")
def files(body, labels_zyx, tmp_path_factory):
    """A chest, its anatomy, and a lesion in its right lung."""
    folder = tmp_path_factory.mktemp("files")
    lesion = np.zeros(labels_zyx.shape, np.uint8)
    z, y, x = np.argwhere(labels_zyx == 12).mean(0).round().astype(int)
    lesion[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1
    for name, array in {"ct": body.ct_zyx, "anatomy": labels_zyx, "lesion": lesion, "empty": 0 * lesion}.items():
        volumes.write_image(
            volumes.from_zyx(array[48:100], SPACING_MM, (-200.0, -150.0, 290.0)), folder / f"{name}.nii.gz"
        )
    image = volumes.read_image(folder / "lesion.nii.gz")
    elsewhere = sitk.Image(image)
    elsewhere.SetOrigin((900.0, 0.0, 0.0))
    volumes.write_image(elsewhere, folder / "elsewhere.nii.gz")
    outside = volumes.to_zyx(image) * 0
    row = labels_zyx[48 + 25, 25]
    outside[25, 25, np.flatnonzero(row)[0] - 1] = 1  # beside the body
    volumes.write_image(volumes.like(outside, image), folder / "outside.nii.gz")
    return folder


def anatomy(folder):
    return read_mask(MaskFile(folder / "anatomy.nii.gz"), SPACING_MM)


def wanted(files, name):
    return Wanted(files / f"{name}.nii.gz", None, 0.0, 0)


def inpaint(files, out, lesion, mask_out=None):
    sampler = Sampler()
    scan = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "anatomy.nii.gz"), sampler.model, CONFIG)
    written(inpaint_scan(sampler, scan, lesion, CONFIG), out, mask_out)


def written(made, out, mask_out):
    volumes.write_image(made.ct, out)
    if mask_out:
        volumes.write_image(made.mask, mask_out)


def test_beyond_the_margin_the_file_is_bit_identical_and_in_the_lesion_it_is_not(files, tmp_path):
    inpaint(files, tmp_path / "out.nii.gz", wanted(files, "lesion"), tmp_path / "mask.nii.gz")
    before, after = (volumes.read_image(path) for path in (files / "ct.nii.gz", tmp_path / "out.nii.gz"))
    assert (after.GetOrigin(), after.GetDirection()) == (before.GetOrigin(), before.GetDirection())
    lesion = volumes.to_zyx(volumes.read_image(tmp_path / "mask.nii.gz")) > 0
    np.testing.assert_array_equal(lesion, volumes.to_zyx(volumes.read_image(files / "lesion.nii.gz")) > 0)
    changed = volumes.to_zyx(before) != volumes.to_zyx(after)
    assert changed[lesion].all()
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            sitk.GetImageFromArray(lesion.astype(np.uint8)), squaredDistance=False, insideIsPositive=False
        )
    )
    assert not changed[distance > 2].any()  # the margin of 12 mm is two voxels


def test_a_drawn_lesion_lies_in_the_organ(files, tmp_path, labels_zyx):
    inpaint(files, tmp_path / "out.nii.gz", Wanted(None, Organ.LUNG, 30.0, 0), tmp_path / "mask.nii.gz")
    lesion = volumes.to_zyx(volumes.read_image(tmp_path / "mask.nii.gz")) > 0
    assert lesion.any()
    assert np.isin(labels_zyx[48:100][lesion], range(10, 15)).mean() > 0.9


def test_the_model_is_told_of_body_where_the_lesion_goes(files, tmp_path):
    shown = []

    class Told(LesionNetwork):
        def encode_condition(self, anatomy, coordinates, target):
            shown.append(np.unique(anatomy[:, None][target > 0]).tolist())
            return super().encode_condition(anatomy, coordinates, target)

    sampler, lesion = Sampler(), wanted(files, "lesion")
    sampler.network = Told([-0.4] * 119)
    generate_lesion(sampler, anatomy(files), Region.CHEST, lesion, CONFIG)
    scan = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "anatomy.nii.gz"), sampler.model, CONFIG)
    count = len(shown)
    inpaint_scan(sampler, scan, lesion, CONFIG)
    for part in (shown[:count], shown[count:]):
        assert {label for labels in part for label in labels} == {BODY}


@pytest.mark.parametrize("patch", [False, True])
def test_a_generated_ct_and_its_mask_lie_on_one_grid_in_the_anatomys_space(files, tmp_path, patch):
    out, mask_out = tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz"
    lesion = wanted(files, "lesion")
    mask = anatomy(files)
    written(generate_lesion(Sampler(), mask, Region.CHEST, lesion, CONFIG, patch), out, mask_out)
    ct, mask = volumes.read_image(out), volumes.read_image(mask_out)
    assert (ct.GetSize(), ct.GetOrigin()) == (mask.GetSize(), mask.GetOrigin())
    assert (ct.GetSize() == (16, 16, 16)) == patch
    given = volumes.read_image(files / "lesion.nii.gz")
    back = sitk.Resample(mask, given, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    np.testing.assert_array_equal(volumes.to_zyx(back), volumes.to_zyx(given))
    drawn, inside = volumes.to_zyx(ct), volumes.to_zyx(mask) > 0
    assert drawn[inside].min() > drawn[~inside].max() + 300


@pytest.mark.parametrize("patch", [False, True])
def test_a_field_of_view_of_any_size_gives_the_same_ct_in_a_frame_of_air(files, tmp_path, patch):
    """What is drawn is the box of the body and its margin, with the coordinates that training has there."""
    wide = tmp_path / "wide"
    for name in ("anatomy", "lesion"):
        image = volumes.read_image(files / f"{name}.nii.gz")
        volumes.write_image(sitk.ConstantPad(image, (20, 31, 0), (25, 0, 0)), wide / f"{name}.nii.gz")
    sampler, found = Sampler(), []
    sampler.network = WhereItIs(sampler.network.values)
    for folder in (files, wide):
        lesion, mask = wanted(folder, "lesion"), anatomy(folder)
        found.append(generate_lesion(sampler, mask, Region.CHEST, lesion, CONFIG, patch))
        assert found[-1].ct.GetSize() == found[-1].mask.GetSize()
    for narrow_image, wide_image, outside in zip(*found, (-1000, 0), strict=True):
        back = sitk.Resample(narrow_image, wide_image, sitk.Transform(), sitk.sitkNearestNeighbor, outside)
        np.testing.assert_array_equal(volumes.to_zyx(wide_image), volumes.to_zyx(back))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("elsewhere", "none of it lies in the region that is worked on"),
        ("empty", "the mask is empty"),
        ("outside", "the lesion mask lies outside of the body"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_and_nothing_is_written(files, tmp_path, name, words):
    with pytest.raises(CaseError, match=words):
        inpaint(files, tmp_path / "out.nii.gz", wanted(files, name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 255), (np.float64, 1.0), (np.int16, 2)])
def test_every_value_but_0_is_the_lesion(files, tmp_path, dtype, value):
    lesion = volumes.read_image(files / "lesion.nii.gz")
    volumes.write_image(volumes.like((volumes.to_zyx(lesion) > 0).astype(dtype) * value, lesion), tmp_path / "l.nii.gz")
    inpaint(files, tmp_path / "out.nii.gz", Wanted(tmp_path / "l.nii.gz", None, 0.0, 0), tmp_path / "mask.nii.gz")
    used = volumes.to_zyx(volumes.read_image(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(used, volumes.to_zyx(lesion) > 0)


def test_a_generated_ct_has_the_order_of_the_anatomys_voxels(files, tmp_path):
    for name in ("anatomy", "lesion"):
        image = sitk.DICOMOrient(volumes.read_image(files / f"{name}.nii.gz"), "RSA")
        volumes.write_image(image, tmp_path / f"{name}.nii.gz")
    inputs = (anatomy(tmp_path), Region.CHEST, wanted(tmp_path, "lesion"), CONFIG)
    given = volumes.read_image(tmp_path / "anatomy.nii.gz")
    for image in generate_lesion(Sampler(), *inputs):
        assert (image.GetSize(), image.GetDirection()) == (given.GetSize(), given.GetDirection())


def test_a_lesion_mask_may_have_other_voxels_than_the_scan(files, tmp_path):
    lesion = volumes.read_image(files / "lesion.nii.gz")
    finer = sitk.DICOMOrient(sitk.Expand(lesion, (3, 3, 1), sitk.sitkNearestNeighbor)[6:, 9:, 2:], "RSP")
    volumes.write_image(finer, tmp_path / "finer.nrrd")
    inpaint(files, tmp_path / "out.nii.gz", Wanted(tmp_path / "finer.nrrd", None, 0.0, 0), tmp_path / "mask.nii.gz")
    used = volumes.to_zyx(volumes.read_image(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(used, volumes.to_zyx(lesion))


@pytest.mark.parametrize("both", [(None, None), ("lesion.nii.gz", Organ.LUNG)])
def test_a_mask_or_an_organ_and_not_both(both):
    with pytest.raises(UserError, match="give either --lesion, a mask of yours, or --organ"):
        Wanted(*both, 20.0, 0)
