"""Where a result may be written, and which seeds there are: known before the work begins."""

import numpy as np
import pytest
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.cli.options import check_labels_out, check_result_out, check_volume_out
from meddiff.errors import UserError
from tests.volumes.dicom.files import write_series


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ct.nii.gz").write_text("a scan")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "ct.nii.gz")
    (tmp_path / "series").mkdir()
    (tmp_path / "a.nii").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["out.nii.gz", "OUT.NII.GZ", "new/folder/Out.Nii.gz", "out.nii", "out.nrrd", "o.MHA"])
def test_names_of_volumes_are_accepted(folder, name):
    check_volume_out(folder / name, folder / "ct.nii.gz", None)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.png", "no name of a volume"),
        ("out.mhd", "no name of a volume; end it with one of .nii.gz, .nii, .nrrd, .mha"),  # it would be two files
        ("out.img", "no name of a volume"),
        ("a.nii", "a folder; name a file"),
        ("ct.nii.gz", "it would replace"),
        ("new/../ct.nii.gz", "it would replace"),
        ("link.nii.gz", "it would replace"),
        ("series/out.nii.gz", "or lie in it"),
        ("ct.nii.gz/out.nii.gz", "or lie in it"),
        ("link.nii.gz/../series/x/out.nii.gz", "or lie in it"),
    ],
)
def test_what_would_replace_an_input_or_is_no_single_file_is_refused(folder, name, words):
    with pytest.raises(UserError, match=f"^--mask-out {folder}.*{words}"):
        check_volume_out(folder / name, folder / "ct.nii.gz", None, folder / "series", option="--mask-out")


def test_a_file_is_no_folder_to_write_to(folder):
    with pytest.raises(UserError, match="nothing can be written to"):
        check_volume_out(folder / "ct.nii.gz" / "out.nii.gz")


def test_a_result_on_a_dicom_folder_is_a_volume_or_a_folder(tmp_path):
    write_series(tmp_path / "ct", np.arange(60).reshape(3, 4, 5) * 30 - 1000)
    for name in ("out", "out.nii.gz", "new/out"):
        check_result_out(tmp_path / name, tmp_path / "ct")
    for name in ("mask.seg.dcm", "mask.RTSTRUCT.dcm", "mask.nii.gz"):
        check_labels_out(tmp_path / name, tmp_path / "ct", option="--mask-out")
    with pytest.raises(UserError, match="already holds files"):
        check_result_out(tmp_path / "ct", tmp_path / "ct")
    with pytest.raises(UserError, match=r"--mask-out .*or lie in it"):
        check_labels_out(tmp_path / "ct" / "mask.seg.dcm", tmp_path / "ct", option="--mask-out")


def test_of_a_volume_there_is_no_dicom(folder):
    with pytest.raises(UserError, match="no name of a volume"):
        check_result_out(folder / "out", folder / "ct.nii.gz")
    with pytest.raises(UserError, match=r"--mask-out .*SEG and RTSTRUCT refer to a DICOM series; .*ct.nii.gz is none"):
        check_labels_out(folder / "mask.seg.dcm", folder / "ct.nii.gz", option="--mask-out")


def test_a_seed_is_one_that_generators_take(tmp_path):
    options = ["--anatomy", "a.nii.gz", "--region", "chest", "--out", str(tmp_path / "ct.nii.gz")]
    done = CliRunner().invoke(app, ["synthesize", *options, "--seed", "99999999999999999999"])
    assert done.exit_code == 2
    assert "Invalid value for '--seed'" in done.output
