"""Where a result may be written: known before the work begins."""

import pytest

from meddiff.cli.options import check_volume_out
from meddiff.errors import UserError


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
