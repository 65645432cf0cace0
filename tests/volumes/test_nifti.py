"""NIfTI: one rule for where the voxels lie, nibabel's, whatever the header holds; and what is refused."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.files import read_file, read_file_grid
from meddiff.volumes.geometry import Grid

VALUES_XYZ = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
PLAIN = np.array([[-2.0, 0, 0, 40], [0, 2, 0, -50], [0, 0, 3, 60], [0, 0, 0, 1]])
TILTED = np.array([[-2.0, 0, 0, 40], [0, 2, 1.1, -50], [0, 0, 3, 60], [0, 0, 0, 1]])
SHIFTED = PLAIN + np.array([[0, 0, 0, 12], [0, 0, 0, -20], [0, 0, 0, 35], [0, 0, 0, 0]])


def header_of(sform=PLAIN, qform=PLAIN, codes=(1, 1), kind=nibabel.Nifti1Header, endianness="<", **fields):
    header = kind(endianness=endianness)
    header.set_data_shape(VALUES_XYZ.shape)
    header.set_data_dtype(np.int16)
    header.set_zooms((2, 2, 3))
    header.set_sform(sform, codes[0])
    header.set_qform(qform, codes[1], strip_shears=True)
    header["sform_code"], header["qform_code"] = codes
    for name, value in fields.items():
        header[name] = value
    return header


def write(path, header, values_xyz=VALUES_XYZ):
    """Write header and voxels as they are; nibabel's own writer would mend the header."""
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    voxels = np.asarray(values_xyz, header.get_data_dtype()).tobytes("F")
    content = header.binaryblock.ljust(header.single_vox_offset, b"\0") + voxels
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
    return path


def assert_lies_at(image, affine_ras):
    """Check every voxel's place, and what it holds."""
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, VALUES_XYZ)
    grid, expected = Grid.of(image), np.diag([-1, -1, 1, 1]) @ affine_ras
    np.testing.assert_allclose(grid.axes_mm, expected[:3, :3], atol=1e-5)
    np.testing.assert_allclose(grid.origin_mm, expected[:3, 3], atol=1e-4)


HEADERS = {
    "sform and qform": header_of(),
    "sform alone": header_of(codes=(1, 0)),
    "qform alone": header_of(codes=(0, 1)),
    "a qform elsewhere": header_of(qform=SHIFTED, codes=(2, 1)),
    "a qform without the tilt": header_of(TILTED, PLAIN),
    "a tilted sform alone": header_of(TILTED, codes=(1, 0)),
    "big-endian": header_of(endianness=">"),
    "NIfTI-2": header_of(TILTED, SHIFTED, kind=nibabel.Nifti2Header),
    "NIfTI-2, big-endian": header_of(codes=(0, 4), kind=nibabel.Nifti2Header, endianness=">"),
    "spacing that differs from the sform's": header_of(codes=(1, 0), pixdim=[1, 9, 9, 9, 0, 0, 0, 0]),
    "left-handed": header_of(np.diag([2.0, 2, 3, 1]), np.diag([2.0, 2, 3, 1]), (0, 1)),
    "a slope of 0": header_of(scl_slope=0, scl_inter=7),
    "no number as slope": header_of(scl_slope=np.nan, scl_inter=np.nan),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_lie_where_nibabel_sees_them(tmp_path, name, suffix):
    path = write(tmp_path / f"a{suffix}", HEADERS[name].copy())
    image = read_file(path)
    assert_lies_at(image, nibabel.load(path).affine)
    assert read_file_grid(path).equals(Grid.of(image))


def test_the_sform_counts_where_the_two_disagree(tmp_path):
    assert_lies_at(read_file(write(tmp_path / "a.nii", header_of(PLAIN, SHIFTED))), PLAIN)


def test_a_tilt_that_the_sform_alone_tells_is_seen(tmp_path):
    path = write(tmp_path / "a.nii", header_of(TILTED, PLAIN))
    assert read_file_grid(path).is_sheared()
    assert_lies_at(read_file(path), TILTED)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Header, nibabel.Nifti2Header])
def test_a_quaternion_that_rounding_made_longer_than_1_is_a_rotation(tmp_path, kind):
    """Other readers take it; nibabel does not."""
    header = header_of(qform=np.diag([-2.0, -2, 3, 1]), codes=(0, 1), kind=kind, quatern_d=1.0000004)
    assert_lies_at(read_file(write(tmp_path / "a.nii", header)), np.diag([-2.0, -2, 3, 1]))


def test_lengths_in_other_units_are_lengths(tmp_path):
    for name, unit, scale in (("metres", 1, 1e-3), ("micrometres", 3, 1e3)):
        affine = np.diag([scale, scale, scale, 1]) @ PLAIN
        path = write(tmp_path / f"{name}.nii", header_of(affine, codes=(1, 0), xyzt_units=unit))
        assert_lies_at(read_file(path), PLAIN)


NAN = PLAIN + np.array([[0, np.nan, 0, 0]] + [[0] * 4] * 3)
NOWHERE = {
    "does not say how it lies in the patient": {"codes": (0, 0)},
    "its qform is no rotation": {"codes": (0, 1), "quatern_b": 0.9, "quatern_c": 0.9},
    "not made of finite numbers": {"sform": NAN},
    "do not span a space": {"sform": np.diag([2.0, 0, 3, 1])},
    "correct the spacing in its header, or its unit": {"xyzt_units": 1},
    "not a 3-D volume": {"dim": [4, 7, 6, 5, 2, 1, 1, 1]},
    "vox offset 200 too low": {"vox_offset": 200},
    "half of a pair": {"magic": b"ni1"},
    "complex": {"datatype": 32, "bitpix": 64},
    "RGB": {"datatype": 128, "bitpix": 24},
    "invalid intercept": {"scl_slope": 1, "scl_inter": np.inf},
}


@pytest.mark.parametrize("reason", NOWHERE)
def test_what_lies_nowhere_or_is_no_volume_is_refused(tmp_path, reason):
    path = write(tmp_path / "a.nii", header_of())
    changes = NOWHERE[reason].copy()
    header = header_of(changes.pop("sform", PLAIN), codes=changes.pop("codes", (1, 1)))
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    for name, value in changes.items():
        header[name] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:] + bytes(2000))
    with pytest.raises(CaseError, match=reason):
        read_file(path)


def test_the_voxels_of_a_file_that_lies_nowhere_can_be_asked_for(tmp_path):
    path = write(tmp_path / "a.nii", header_of(codes=(0, 0)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_file(path, placed=False)).T, VALUES_XYZ)


@pytest.mark.parametrize("slope", [1, 0.5, -2])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_kind_of_number_is_read_with_its_slope(tmp_path, dtype, slope):
    header = header_of(endianness=">", scl_slope=slope, scl_inter=-24)
    header.set_data_dtype(np.dtype(dtype))
    stored = np.arange(VALUES_XYZ.size).reshape(VALUES_XYZ.shape) % 100
    path = write(tmp_path / "a.nii.gz", header, stored)
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_file(path)).T, stored * slope - 24.0)


def test_the_name_says_that_it_is_nifti_and_the_content_whether_it_is_compressed(tmp_path):
    plain = write(tmp_path / "plain.nii", header_of()).read_bytes()
    packed = gzip.compress(plain)
    members = gzip.compress(plain[:200]) + gzip.compress(plain[200:]) + gzip.compress(b"")
    files = {"SCAN.NII.GZ": packed, "Scan.Nii.gz": packed, "scan.nii.GZ": packed, "SCAN.NII": plain}
    files |= {"not-packed.nii.gz": plain, "packed.nii": packed, "members.nii.gz": members}
    for name, content in (files | {"zeros.nii.gz": packed + bytes(512)}).items():
        (tmp_path / name).write_bytes(content)
        assert_lies_at(read_file(tmp_path / name), PLAIN)


def test_damage_within_a_compressed_file_is_found(tmp_path):
    content = bytearray(write(tmp_path / "a.nii.gz", header_of()).read_bytes())
    content[-6] ^= 1  # of the checksum
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(CaseError, match="damaged: what is compressed"):
        read_file(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["A.MHA", "A.Nrrd"])
def test_the_names_of_other_formats_may_have_capitals(tmp_path, name):
    image = sitk.GetImageFromArray(VALUES_XYZ.T)
    sitk.WriteImage(image, str(tmp_path / name.lower()))
    (tmp_path / name.lower()).rename(tmp_path / name)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_file(tmp_path / name)), VALUES_XYZ.T)


@pytest.mark.parametrize(
    ("space", "turn"),
    [("left-posterior-superior", (1, 1, 1)), ("RAS", (-1, -1, 1)), ("left-anterior-superior", (1, -1, 1))],
)
def test_an_nrrd_file_may_count_from_any_side_of_the_patient(tmp_path, space, turn):
    path = nrrd(tmp_path, f"space: {space}\nspace directions: (2,0,0) (0,3,0) (0,0.5,4)\nspace origin: (1,2,3)\n")
    grid = Grid.of(read_file(path))
    np.testing.assert_allclose(grid.axes_mm, np.diag(turn) @ [[2, 0, 0], [0, 3, 0.5], [0, 0, 4]])
    np.testing.assert_allclose(grid.origin_mm, np.array(turn) * (1, 2, 3))


@pytest.mark.parametrize("space", ["", "space: 3D-right-handed\n", "space: scanner-xyz\n"])
def test_an_nrrd_file_that_does_not_know_the_patient_is_refused(tmp_path, space):
    directions = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\n" if space else "spacings: 2 3 4\n"
    path = nrrd(tmp_path, space + directions)
    for read in (read_file, read_file_grid):
        with pytest.raises(CaseError, match="does not say how it lies in the patient"):
            read(path)
    assert read_file(path, placed=False).GetSize() == VALUES_XYZ.shape


def nrrd(folder, lines):
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n{lines}\n"
    (folder / "a.nrrd").write_bytes(header.encode() + VALUES_XYZ.tobytes("F"))
    return folder / "a.nrrd"
