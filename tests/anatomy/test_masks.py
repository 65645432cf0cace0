"""A user's anatomy mask: read as it is, or refused for a reason that can be mended."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from totalsegmentator.map_to_binary import class_map
from totalsegmentator.nifti_ext_header import add_label_map_to_nifti

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.anatomy.masks import read_mask
from meddiff.anatomy.numbering import MaskFile
from meddiff.errors import CaseError
from meddiff.volumes.volumes import from_zyx, to_zyx

LABELS_ZYX = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6) % 119


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_mask_is_read_as_it_lies_in_the_file(tmp_path, suffix, kind):
    written = from_zyx(LABELS_ZYX.astype(kind), 2.0, (1.0, 2.0, 3.0))
    written.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(written, str(tmp_path / f"mask{suffix}"))
    mask = read_mask(MaskFile(tmp_path / f"mask{suffix}"), 2.0)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert (to_zyx(mask) == LABELS_ZYX).all()
    assert mask.GetOrigin() == pytest.approx((1.0, 2.0, 3.0))
    assert mask.GetDirection() == pytest.approx(written.GetDirection())


def plain_nrrd(path):
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: raw\n\n"
    path.with_suffix(".nrrd").write_bytes(header + LABELS_ZYX.tobytes())
    return path.with_suffix(".nrrd")


def plain_nifti(path):
    image = nibabel.Nifti1Image(LABELS_ZYX, None)
    nibabel.save(image, path.with_suffix(".nii"))
    return path.with_suffix(".nii")


@pytest.mark.parametrize("write", [plain_nrrd, plain_nifti])
def test_a_file_without_geometry_is_refused(tmp_path, write):
    with pytest.raises(CaseError, match="does not say how it lies in the patient"):
        read_mask(MaskFile(write(tmp_path / "mask")), 1.0)


@pytest.mark.parametrize(
    ("values", "spacing_mm", "words"),
    [
        ([0, 5, 119, 200], 2.0, "unknown labels 119, 200; expected 0 to 118"),
        ([0, 1.5], 2.0, "unknown labels 1.5"),
        ([-1, 3], 2.0, "unknown labels -1"),
        ([0, 0], 2.0, "the mask is empty"),
        ([0, np.nan], 2.0, "labels that are not finite numbers"),
        ([0, 5, 117], 2.0, "no voxel has the label 118, the rest of the body"),
    ],
)
def test_what_a_model_cannot_use_is_refused(tmp_path, values, spacing_mm, words):
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels.flat[: len(values)] = values
    sitk.WriteImage(from_zyx(voxels, 2.0), str(tmp_path / "mask.nii.gz"))
    with pytest.raises(CaseError, match=words):
        read_mask(MaskFile(tmp_path / "mask.nii.gz"), spacing_mm)


def test_a_mask_of_another_spacing_is_brought_to_the_models(tmp_path, caplog):
    written = from_zyx(np.full((4, 5, 6), 118, np.uint8), 2.0, (1.0, 2.0, 3.0))
    written[2:, :, :] = 5
    sitk.WriteImage(sitk.DICOMOrient(written, "RAS"), str(tmp_path / "mask.nii.gz"))
    with caplog.at_level("INFO"):
        mask = read_mask(MaskFile(tmp_path / "mask.nii.gz"), 1.0)
    assert "the mask has voxels of 2x2x2 mm; brought to the model's 1 mm" in caplog.text
    np.testing.assert_array_equal(to_zyx(mask), np.repeat(to_zyx(sitk.Expand(written, (1, 2, 2))), 2, 2))
    assert mask.GetOrigin() == pytest.approx((0.5, 1.5, 2.5))


def test_labels_that_were_stored_with_a_slope_are_whole_numbers(tmp_path):
    image = nibabel.Nifti1Image(LABELS_ZYX.T.astype(np.int16) * 4, np.diag([-2.0, -2, 2, 1]))
    image.header.set_slope_inter(0.25001, 0)
    nibabel.save(image, tmp_path / "mask.nii.gz")
    assert (to_zyx(read_mask(MaskFile(tmp_path / "mask.nii.gz"), 2.0)) == LABELS_ZYX).all()


@pytest.mark.parametrize("shear_mm", [0.0008, 0.24])
def test_a_mask_whose_axes_are_not_perpendicular_is_read(tmp_path, shear_mm):
    affine = np.diag([-2.0, -2, 2, 1])
    affine[1, 2] = shear_mm
    nibabel.save(nibabel.Nifti1Image(LABELS_ZYX.T, affine), tmp_path / "mask.nii.gz")
    assert (to_zyx(read_mask(MaskFile(tmp_path / "mask.nii.gz"), 2.0)) == LABELS_ZYX).all()


V1_ZYX = np.where(LABELS_ZYX < 105, LABELS_ZYX, 0).astype(np.uint8)
V1_ZYX[0, 0, 0] = 118
V1_PAIRS = {13: "lung_upper_lobe_left", 15: "lung_upper_lobe_right", 7: "aorta", 46: "heart", 104: "urinary_bladder"}


def ids_in(mask, numbers):
    return {number: set(to_zyx(mask)[numbers == number].tolist()) for number in V1_PAIRS}


def test_a_mask_of_version_1_is_read_as_such_when_that_is_said(tmp_path, caplog):
    sitk.WriteImage(from_zyx(V1_ZYX, 2.0), str(tmp_path / "mask.nrrd"))
    with caplog.at_level("INFO"):
        mask = read_mask(MaskFile(tmp_path / "mask.nrrd", version=1), 2.0)
    assert ids_in(mask, V1_ZYX) == {number: {CLASS_IDS[name]} for number, name in V1_PAIRS.items()}
    assert set(to_zyx(mask)[np.isin(V1_ZYX, (49, 93))].tolist()) == {118}  # the face, and the artery of the lung
    assert "labels of the mask are taken as TotalSegmentator 1's: 1 spleen" in caplog.text


def test_the_names_in_a_file_of_totalsegmentator_count(tmp_path, caplog):
    image = nibabel.Nifti1Image(V1_ZYX.T, np.diag([-2.0, -2, 2, 1]))
    nibabel.save(add_label_map_to_nifti(image, class_map["total_v1"]), tmp_path / "mask.nii.gz")
    with caplog.at_level("INFO"):
        mask = read_mask(MaskFile(tmp_path / "mask.nii.gz"), 2.0)
    assert ids_in(mask, V1_ZYX) == {number: {CLASS_IDS[name]} for number, name in V1_PAIRS.items()}
    assert "the mask names its labels itself: 1 spleen" in caplog.text


def test_the_names_of_segments_count(tmp_path):
    labels = from_zyx((LABELS_ZYX % 4).astype(np.uint8), 2.0)
    for segment, (name, label) in enumerate({"liver": 3, "aorta": 1, "body": 2}.items()):
        labels.SetMetaData(f"Segment{segment}_ID", name)
        labels.SetMetaData(f"Segment{segment}_LabelValue", str(label))
    sitk.WriteImage(labels, str(tmp_path / "mask.seg.nrrd"))
    mask = read_mask(MaskFile(tmp_path / "mask.seg.nrrd"), 2.0)
    expected = np.array([0, CLASS_IDS["aorta"], 118, CLASS_IDS["liver"]])
    np.testing.assert_array_equal(to_zyx(mask), expected[LABELS_ZYX % 4])


def test_a_mask_of_another_task_is_refused_by_its_names(tmp_path):
    image = nibabel.Nifti1Image((LABELS_ZYX.T % 3).astype(np.uint8), np.diag([-2.0, -2, 2, 1]))
    nibabel.save(add_label_map_to_nifti(image, class_map["lung_vessels"]), tmp_path / "mask.nii.gz")
    with pytest.raises(CaseError, match=r"calls the labels 1 lung_.*: no classes of TotalSegmentator"):
        read_mask(MaskFile(tmp_path / "mask.nii.gz"), 2.0)
