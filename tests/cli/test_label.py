"""`meddiff label`: the anatomy of a scan, as a volume or beside its DICOM series."""

import numpy as np
from typer.testing import CliRunner

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.cli.main import app
from meddiff.config import Config
from meddiff.volumes.dicom.labels import label_names
from meddiff.volumes.volumes import like, read_acquired, read_labels, to_zyx, write_image
from meddiff.weights import FOUNDATION, shipped_bundle
from tests.volumes.dicom.files import write_series


def test_a_mask_of_a_dicom_folder_becomes_a_seg(tmp_path, monkeypatch):
    hu = np.full((12, 30, 30), -1000)
    hu[:, 5:25, 5:25] = 30 + np.arange(20)
    write_series(tmp_path / "ct", hu, spacing_mm=(3.0, 3.0))
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 5:25, 5:25], labels[2:6, 8:14, 8:14] = 118, CLASS_IDS["liver"]
    scan = read_acquired(tmp_path / "ct")
    write_image(like(labels, scan), tmp_path / "mask.nii.gz")
    told = []
    monkeypatch.setattr(
        "meddiff.cli.label.own_config", lambda *given: told.append(given) or Config(data={"spacing_mm": 3.0})
    )
    command = [
        "label",
        str(tmp_path / "ct"),
        "-o",
        str(tmp_path / "l.seg.dcm"),
        "--anatomy",
        str(tmp_path / "mask.nii.gz"),
    ]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert told == [(None, str(shipped_bundle(FOUNDATION)))]  # labels as the other verbs of that model see them
    assert label_names(tmp_path / "l.seg.dcm") == ["liver", "body"]
    found = read_labels(tmp_path / "l.seg.dcm", scan)
    expected = np.select([labels == CLASS_IDS["liver"], labels == 118], [1, 2])
    np.testing.assert_array_equal(to_zyx(found), expected)
