"""Reading: orientation, HU, and what is refused with which reason."""

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.geometry import Grid
from meddiff.volumes.resample import resample_ct
from tests.volumes.dicom.files import write_contours, write_enhanced, write_segments, write_series


def ramp_image() -> sitk.Image:
    """An LPS image whose value tells the place: 400 z + 10 y + x - 1000."""
    z, y, x = np.indices((4, 5, 6))
    image = sitk.GetImageFromArray((400 * z + 10 * y + x - 1000).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-7.0, 11.0, 13.0))
    return image


def random_hu(size_zyx):
    return np.random.default_rng(0).integers(-1000, 1000, size_zyx)


def write_dicom_series(folder, hu_zyx, modality="CT", skip=()):
    def set_modality(z, tags):
        tags.Modality = modality

    write_series(folder, hu_zyx, edit=set_modality, name="{z}.dcm")
    for z in skip:
        (folder / f"{z}.dcm").unlink()


def test_every_orientation_reads_as_the_same_volume(tmp_path):
    expected = volumes.to_zyx(ramp_image())
    for orientation in ("LPS", "RAS", "SRP", "ILA"):
        path = tmp_path / f"{orientation}.nii.gz"
        sitk.WriteImage(sitk.DICOMOrient(ramp_image(), orientation), str(path))
        read = volumes.read_ct(path)
        np.testing.assert_array_equal(volumes.to_zyx(read), expected)
        np.testing.assert_allclose(read.GetOrigin(), (-7, 11, 13), atol=1e-5)
        np.testing.assert_allclose(read.GetSpacing(), (0.5, 0.75, 2.0), atol=1e-5)


def test_padding_below_air_becomes_air(tmp_path):
    image = ramp_image()
    image[0, 0, 0] = -3024
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert volumes.to_zyx(volumes.read_ct(tmp_path / "a.nrrd")).min() == volumes.AIR_HU


def test_a_dicom_folder_reads_in_hu(tmp_path):
    hu = np.full((5, 6, 7), -1000)
    hu[2, 3, 4] = 500
    write_dicom_series(tmp_path / "ct", hu)
    image = volumes.read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(volumes.to_zyx(image), hu)
    np.testing.assert_allclose(image.GetSpacing(), (2, 2, 3))


GRADIENT_HU = np.array([3.0, -4.0, 5.0])  # per mm


def places_mm(image):
    grid = Grid.of(image)
    return grid, grid.origin_mm + np.indices(grid.size_xyz).reshape(3, -1).T @ grid.axes_mm.T


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), tilt_deg=st.sampled_from([0.0, -20.0, 12.5]), data=st.data())
def test_oblique_tilted_and_shuffled_slices_end_upright_in_the_right_place(tmp_path_factory, seed, tilt_deg, data):
    """The scan is a ramp in the patient's frame; wherever the slices reach, so is what is read and resampled."""
    folder = tmp_path_factory.mktemp("series")
    turn = Rotation.random(random_state=seed).as_matrix()
    step_mm = 3 * turn @ (0, np.tan(np.deg2rad(tilt_deg)), 1)
    grid = Grid((13, 12, 11), np.array([-20.0, 10.0, 5.0]), np.column_stack([2 * turn[:, :2], step_mm]))
    indices = np.indices(grid.size_xyz).reshape(3, -1).T
    centre_mm = grid.corners_mm().mean(0)
    ramp = (grid.origin_mm + indices @ grid.axes_mm.T - centre_mm) @ GRADIENT_HU - 400
    hu_zyx = np.rint(ramp).reshape(grid.size_xyz).T
    order = data.draw(st.permutations(range(11)))
    write_series(
        folder,
        hu_zyx[order],
        cosines=turn[:, :2].T.ravel(),
        positions_mm=[grid.origin_mm + z * step_mm for z in order],
    )

    image = volumes.read_ct(folder)
    for read in (image, resample_ct(image, 1.7)):
        read_grid, where_mm = places_mm(read)
        source = grid.index_of(where_mm)
        inside = ((source >= 0) & (source <= np.array(grid.size_xyz) - 1)).all(1)
        expected = (where_mm - centre_mm) @ GRADIENT_HU - 400
        assert inside.sum() * np.abs(np.linalg.det(read_grid.axes_mm)) > 0.75 * 12 * 11 * 10 * 2 * 2 * 3
        interior = ((source >= 1) & (source <= np.array(grid.size_xyz) - 2)).all(1)
        np.testing.assert_allclose(volumes.to_zyx(read).T.ravel()[interior], expected[interior], atol=2.1)
    np.testing.assert_allclose(Grid.of(resample_ct(image, 1.7)).axes_mm, 1.7 * np.eye(3))
    # A label map drawn on what was read lies on it again, however it is turned.
    volumes.write_image(sitk.Cast(image > -400, sitk.sitkUInt8), folder / "labels.nrrd")
    assert (volumes.to_zyx(volumes.read_labels(folder / "labels.nrrd", image)) == (volumes.to_zyx(image) > -400)).all()


def test_landmarks_of_an_oblique_nifti_keep_their_place_in_mm(tmp_path):
    turn = Rotation.from_euler("xyz", (25, -15, 35), degrees=True).as_matrix()
    grid = Grid((50, 48, 40), np.array([-40.0, -35.0, 100.0]), turn * (1.5, 1.5, 2.0))
    landmarks_mm = [grid.origin_mm + grid.axes_mm @ index for index in ((12, 14, 10), (36, 20, 28), (20, 36, 20))]
    empty = grid.put_on(sitk.Image(grid.size_xyz, sitk.sitkInt16))
    _, where_mm = places_mm(empty)
    hu = np.full(len(where_mm), -900)
    for number, landmark_mm in enumerate(landmarks_mm):
        hu[np.linalg.norm(where_mm - landmark_mm, axis=1) < 9] = 200 + 200 * number
    values = hu.reshape(grid.size_xyz).T.astype(np.int16)
    sitk.WriteImage(grid.put_on(sitk.GetImageFromArray(values)), str(tmp_path / "a.nii.gz"))
    upright = resample_ct(volumes.read_ct(tmp_path / "a.nii.gz"), 1.0)
    _, where_mm = places_mm(upright)
    found = volumes.to_zyx(upright).T.ravel()
    for number, landmark_mm in enumerate(landmarks_mm):
        near = np.linalg.norm(where_mm - landmark_mm, axis=1) < 12
        weights = np.clip(found[near] + 900.0, 0, None)
        np.testing.assert_allclose(weights @ where_mm[near] / weights.sum(), landmark_mm, atol=0.3)
        assert abs(found[near].max() - (200 + 200 * number)) <= 1


def _nifti(values_xyz, affine=None, slope=None, inter=None):
    image = nibabel.Nifti1Image(values_xyz, np.diag([-1.0, -1, 1, 1]) if affine is None else affine)  # type: ignore[attr-defined]
    image.header.set_slope_inter(slope, inter)
    return image


HU_XYZ = np.random.default_rng(0).integers(-1024, 3000, (6, 5, 4)).astype(np.int16)


@pytest.mark.parametrize(
    ("image", "expected_xyz"),
    [
        (_nifti(HU_XYZ[..., None]), HU_XYZ),
        (_nifti((HU_XYZ + 1024).astype(np.uint16), slope=1, inter=-1024), HU_XYZ),
        (_nifti(HU_XYZ.astype(np.int32)), HU_XYZ),
        (_nifti(HU_XYZ.astype(np.float64) + 0.4), HU_XYZ),
        (_nifti(HU_XYZ.astype(np.float64) - 0.4), HU_XYZ),
        (_nifti((HU_XYZ * 8.0).astype(np.int16), slope=0.125, inter=0.0), HU_XYZ),
        (_nifti(np.where(HU_XYZ < -900, -2048, HU_XYZ).astype(np.int16)), np.where(HU_XYZ < -900, -1024, HU_XYZ)),
        (_nifti(np.where(HU_XYZ > 2900, 1e6, HU_XYZ).astype(np.float32)), np.where(HU_XYZ > 2900, 32767, HU_XYZ)),
        (_nifti(np.where(HU_XYZ > 2900, 32767, HU_XYZ).astype(np.int16)), np.where(HU_XYZ > 2900, 32767, HU_XYZ)),
    ],
    ids=["4-D", "uint16", "int32", "rounds-down", "rounds-up", "scaled", "padding", "metal-clips", "metal"],
)
def test_every_number_format_reads_as_hu(tmp_path, image, expected_xyz):
    nibabel.save(image, tmp_path / "a.nii.gz")  # type: ignore[attr-defined]
    read = volumes.read_ct(tmp_path / "a.nii.gz")
    assert read.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(volumes.to_zyx(read).T, expected_xyz)


def test_a_sheared_nifti_is_put_upright(tmp_path):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = -1.0
    values = np.full((10, 30, 12), -800, np.int16)
    for z in range(12):
        values[3:6, 8 + z // 2 : 12 + z // 2, z] = 100  # a rod along the patient, seen by tilted slices
    nibabel.save(_nifti(values, affine), tmp_path / "a.nii.gz")  # type: ignore[attr-defined]
    read = volumes.read_ct(tmp_path / "a.nii.gz")
    weights = volumes.to_zyx(read).clip(-800).sum(axis=2) + 800.0 * read.GetSize()[0]
    rows = weights @ np.arange(weights.shape[1]) / weights.sum(axis=1)
    assert np.ptp(rows) < 0.6  # from slice to slice the rod was drawn half a voxel beside its place
    assert read.GetSize()[1] == 30 + 6


def test_labels_of_a_sheared_nifti_stay_labels(tmp_path):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = -1.0
    labels = np.random.default_rng(0).choice([0, 1, 7], (10, 30, 12)).astype(np.uint8)
    nibabel.save(_nifti(labels.astype(np.int16) * 100 - 500, affine), tmp_path / "a.nii")  # type: ignore[attr-defined]
    nibabel.save(_nifti(labels, affine), tmp_path / "l.nii")  # type: ignore[attr-defined]
    read = volumes.read_labels(tmp_path / "l.nii", volumes.read_ct(tmp_path / "a.nii"))
    assert set(np.unique(volumes.to_zyx(read))) == {0, 1, 7}


@pytest.mark.parametrize(("needed_mm", "fits"), [(7.9, True), (8.1, False)])
def test_a_scan_smaller_than_what_is_needed_is_refused(tmp_path, needed_mm, fits):
    image = ramp_image()  # 3 x 3.75 x 8 mm
    image.SetSpacing((4.0, 4.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    if fits:
        assert volumes.read_ct(tmp_path / "a.nrrd", min_extent_mm=needed_mm).GetSize() == (6, 5, 4)
    else:
        with pytest.raises(CaseError, match="too small: 24x20x8 mm"):
            volumes.read_ct(tmp_path / "a.nrrd", min_extent_mm=needed_mm)


def test_the_grid_is_that_of_the_scan(tmp_path):
    write_dicom_series(tmp_path / "ct", random_hu((5, 6, 7)))
    sitk.WriteImage(sitk.DICOMOrient(ramp_image(), "SRP"), str(tmp_path / "a.nii.gz"))
    for path in (tmp_path / "ct", tmp_path / "a.nii.gz"):
        assert volumes.read_grid(path).equals(Grid.of(volumes.read_ct(path)))


def labels_of_ramp(dtype=np.uint8):
    values = np.zeros((4, 5, 6), dtype)
    values[1:3, 2:4, 1:5] = 3
    return volumes.like(values, ramp_image())


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SRP", "AIL"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_labels_may_have_another_order_of_axes_and_number_format(tmp_path, orientation, dtype):
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(sitk.DICOMOrient(labels_of_ramp(dtype), orientation), str(path))
    read = volumes.read_labels(path, ramp_image())
    assert read.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(volumes.to_zyx(read), volumes.to_zyx(labels_of_ramp()))


def _shifted(image):
    image.SetOrigin((-7.0, 11.0, 15.0))
    return image


def _thicker(image):
    image.SetSpacing((0.5, 0.75, 2.5))
    return image


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_shifted, "other voxels than the scan"),
        (_thicker, "other voxels than the scan"),
        (lambda image: image[:, :, 1:], "other voxels than the scan"),
        (lambda image: sitk.Cast(image, sitk.sitkInt16) - 1, "from 0 to 255"),
        (lambda image: sitk.Cast(image, sitk.sitkInt16) * 100, "from 0 to 255"),
        (lambda image: sitk.Cast(image, sitk.sitkFloat32) / 0.0 * 0.0, "from 0 to 255"),
    ],
)
def test_labels_that_do_not_lie_on_the_scan_or_are_none_are_refused(tmp_path, change, reason):
    volumes.write_image(change(labels_of_ramp()), tmp_path / "labels.nrrd")
    with pytest.raises(CaseError, match=reason):
        volumes.read_labels(tmp_path / "labels.nrrd", ramp_image())


def test_labels_come_from_contours_and_segments_too(tmp_path):
    mask = np.zeros((5, 12, 14), bool)
    mask[1:4, 3:7, 4:9] = True
    write_dicom_series(tmp_path / "ct", random_hu((5, 12, 14)))
    square = np.array([(7, 5), (17, 5), (17, 13), (7, 13)])  # between the centres of the pixels, 2 mm apart
    contours = [np.column_stack([square, np.full(4, 3.0 * z)]) for z in (1, 2, 3)]
    write_contours(tmp_path / "rs.dcm", {"Heart": contours})
    write_segments(tmp_path / "seg.dcm", tmp_path / "ct", {"Heart": mask})
    scan = volumes.read_ct(tmp_path / "ct")
    for name in ("rs.dcm", "seg.dcm"):
        for names in ((), ("heart",)):
            np.testing.assert_array_equal(volumes.to_zyx(volumes.read_labels(tmp_path / name, scan, names)), mask)


def test_a_multi_frame_ct_reads_in_hu_whatever_the_order_of_its_frames(tmp_path):
    hu = random_hu((5, 6, 7))
    (tmp_path / "ct").mkdir()
    write_enhanced(tmp_path / "ct" / "one", hu, rescale=(0.5, -1024), order=[3, 0, 4, 2, 1])
    np.testing.assert_array_equal(volumes.to_zyx(volumes.read_ct(tmp_path / "ct")), hu)


def _truncated(path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _constant(value, shape=(4, 5, 6)):
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(np.full(shape, value, np.float32)), str(path))


def _raw_with_padding(path):
    values = np.zeros((4, 5, 6), np.int16)
    values[0], values[1] = -2000, 4000
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("truncated.nii.gz", _truncated, "truncated"),
        ("truncated.nii", _truncated, "truncated"),
        ("truncated.nrrd", _truncated, "truncated"),
        ("truncated.mha", _truncated, "truncated"),
        ("text.nii.gz", lambda path: path.write_text("hello"), "unreadable"),
        ("empty.nii.gz", lambda path: path.touch(), "empty"),
        ("notes.txt", lambda path: path.write_text("hello"), "not a volume"),
        ("missing.nii.gz", lambda path: None, "no such file"),
        ("mr.nii.gz", _constant(300.0), "cannot be CT"),
        ("nan.nrrd", _constant(np.nan), "not finite"),
        ("infinite.nrrd", _constant(-np.inf), "not finite"),
        ("raw.nrrd", _constant(1000.0), "cannot be CT"),
        ("air.nrrd", _constant(-1000.0), "cannot be CT"),
        ("raw-with-padding.nrrd", _raw_with_padding, "from 0 to 4000 cannot be CT"),
        ("slice.nii.gz", _constant(-1000.0, (1, 5, 6)), "not a 3-D volume"),
        ("empty-folder", lambda path: path.mkdir(), "folder is empty"),
        ("mr-series", lambda path: write_dicom_series(path, np.full((3, 4, 5), -900), modality="MR"), "modality is MR"),
        ("gap", lambda path: write_dicom_series(path, np.full((6, 4, 5), -900), skip=(3,)), "slices are missing"),
    ],
)
def test_what_is_no_ct_is_refused_with_a_reason(tmp_path, name, make, reason):
    make(tmp_path / name)
    with pytest.raises(CaseError, match=reason) as caught:
        volumes.read_ct(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_no_patient_tag_reaches_what_is_written(tmp_path):
    hu = np.full((4, 5, 6), -1000)
    hu[2] = 40
    write_dicom_series(tmp_path / "ct", hu)
    assert pydicom.dcmread(tmp_path / "ct" / "0.dcm").PatientID == "secret-id"
    volumes.write_image(volumes.read_ct(tmp_path / "ct"), tmp_path / "out.nrrd")
    assert b"ecret" not in (tmp_path / "out.nrrd").read_bytes()


@pytest.mark.parametrize(("low", "high", "accepted"), [(-160, 240, False), (-400, 400, False), (-1000, 240, True)])
def test_a_scan_whose_air_was_cut_off_is_refused(tmp_path, low, high, accepted):
    hu_zyx = np.where(np.indices((9, 10, 11))[1] < 5, -1000, 40) + np.random.default_rng(0).normal(0, 20, (9, 10, 11))
    sitk.WriteImage(sitk.GetImageFromArray(np.clip(hu_zyx, low, high).astype(np.int16)), str(tmp_path / "a.nrrd"))
    if accepted:
        volumes.read_ct(tmp_path / "a.nrrd")
    else:
        with pytest.raises(CaseError, match=f"clipped to {low} to") as caught:
            volumes.read_ct(tmp_path / "a.nrrd")
        assert "50% of the voxels have the lowest value" in str(caught.value)


def test_a_cut_out_of_soft_tissue_is_no_clipped_scan(tmp_path):
    hu_zyx = np.random.default_rng(0).normal(-20, 40, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(hu_zyx), str(tmp_path / "a.nrrd"))
    assert volumes.to_zyx(volumes.read_ct(tmp_path / "a.nrrd")).min() == hu_zyx.min()


def test_segments_in_layers_are_refused_as_what_they_are(tmp_path):
    labels = sitk.Compose(labels_of_ramp(), labels_of_ramp())
    sitk.WriteImage(labels, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(CaseError, match=r"each voxel has 2 values: .* overlapping segments, which 3D Slicer saves"):
        volumes.read_labels(tmp_path / "a.seg.nrrd", ramp_image())


@pytest.mark.parametrize("name", ["OUT.NII.GZ", "Out.Nii.gz", "out.NII", "out.Nrrd", "OUT.MHA", "out 50%d.nii.gz"])
def test_a_volume_is_written_under_the_name_that_was_asked_for(tmp_path, name):
    volumes.write_image(ramp_image(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(volumes.to_zyx(volumes.read_image(tmp_path / name)), volumes.to_zyx(ramp_image()))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "NII.GZ", "nrrd", "mha"])
@pytest.mark.parametrize("shear", [0.3, 0.0005])
def test_a_sheared_volume_is_written_as_it_lies(tmp_path, suffix, shear):
    grid = Grid((6, 5, 4), np.array([1.0, 2, 3]), np.array([[-2.0, 0, 0], [0, 3, shear], [0, 0, 4]]))
    image = grid.put_on(sitk.GetImageFromArray(volumes.to_zyx(ramp_image())))
    volumes.write_image(image, tmp_path / f"a.{suffix}")
    read = volumes.read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(volumes.to_zyx(read), volumes.to_zyx(image))
    np.testing.assert_allclose(Grid.of(read).axes_mm, grid.axes_mm, atol=1e-6)
    np.testing.assert_allclose(Grid.of(read).origin_mm, grid.origin_mm, atol=1e-6)


def test_writing_leaves_the_whole_file_or_none(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        volumes.write_image(ramp_image(), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SRP"])
def test_a_result_on_a_grid_of_its_own_runs_as_the_scan_does(tmp_path, orientation):
    sitk.WriteImage(sitk.DICOMOrient(ramp_image(), orientation), str(tmp_path / "scan.nii.gz"))
    turned = volumes.in_order_of(ramp_image()[1:, 1:, 1:], volumes.read_grid(tmp_path / "scan.nii.gz"))
    np.testing.assert_allclose(turned.GetDirection(), sitk.DICOMOrient(ramp_image(), orientation).GetDirection())
    np.testing.assert_array_equal(
        volumes.to_zyx(sitk.DICOMOrient(turned, "LPS")), volumes.to_zyx(ramp_image())[1:, 1:, 1:]
    )


def test_cropping_keeps_every_voxel_in_its_place():
    image = ramp_image()
    part = volumes.crop(image, (1, 2, 3), (3, 5, 6))
    np.testing.assert_array_equal(volumes.to_zyx(part), volumes.to_zyx(image)[1:3, 2:5, 3:6])
    np.testing.assert_allclose(part.GetOrigin(), image.TransformIndexToPhysicalPoint((3, 2, 1)))
