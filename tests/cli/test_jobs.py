"""One scan or a folder of them: skipped if done, told if failed, and a table."""

import json

import numpy as np
import pytest

from meddiff.cli.jobs import Job, jobs_of, run_jobs, to_do
from meddiff.cli.options import check_result_out
from meddiff.derived import series
from meddiff.derived.series import Content, write_derived_series
from meddiff.errors import UserError
from meddiff.volumes.volumes import read_acquired
from tests.volumes.dicom.files import write_series

HU = np.repeat([[[-1000.0] * 4] * 2 + [[0.0] * 4] * 2], 3, axis=0)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("b.nii.gz", "a.mha", "notes.txt"):
        (folder / name).touch()
    return folder


def work(job):
    if job.scan.name == "a.mha":
        raise UserError("a.mha: no CT")
    job.out.parent.mkdir(exist_ok=True)
    job.out.touch()


def test_a_folder_of_volumes_is_a_job_for_each_with_its_own_files(scans, tmp_path):
    first, second = jobs_of(scans, tmp_path / "out", tmp_path / "masks")
    assert first == Job(scans / "a.mha", tmp_path / "out/a.mha", tmp_path / "masks/a.mha", name="a.mha")
    assert second.scan.name == "b.nii.gz"


def test_a_file_and_a_dicom_folder_are_one_job(scans, tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/IM0001").touch()
    for scan in (scans / "b.nii.gz", tmp_path / "dicom"):
        assert jobs_of(scan, tmp_path / "out") == [Job(scan, tmp_path / "out")]


@pytest.fixture
def export(tmp_path):
    """What a hospital gives: a folder for each patient and series, an index, a report and a localizer."""
    for folder in ("a/1", "a/2/thin", "b"):
        write_series(tmp_path / "export" / folder, HU)
    write_series(
        tmp_path / "export/a/0",
        HU,
        edit=lambda _, tags: setattr(tags, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    (tmp_path / "export/DICOMDIR").write_bytes((tmp_path / "export/b/1-0.dcm").read_bytes())
    (tmp_path / "export/a/report.txt").write_text("no DICOM")
    return tmp_path / "export"


def test_a_folder_of_dicom_folders_is_a_job_for_each_that_has_a_ct(export, tmp_path, caplog):
    jobs = jobs_of(export, tmp_path / "out", tmp_path / "masks", tmp_path / "found")
    assert [job.name for job in jobs] == ["a/1", "a/2/thin", "b"]
    assert jobs[1] == Job(
        export / "a/2/thin",
        tmp_path / "out/a/2/thin",
        tmp_path / "masks/a/2/thin",
        tmp_path / "found/a/2/thin.nii.gz",
        "a/2/thin",
    )
    (line,) = caplog.messages
    assert line.startswith("left out: a/0: ")
    assert "localizer" in line


def test_of_dicom_folders_those_that_are_done_are_left_alone(export, tmp_path, capsys):
    jobs = jobs_of(export, tmp_path / "out")
    derive(jobs[2])
    assert [job.name for job in to_do(jobs)] == ["a/1", "a/2/thin"]
    run_jobs(jobs, derive)
    assert [row.split()[:2] for row in capsys.readouterr().out.splitlines()] == [
        ["a/1", "done"],
        ["a/2/thin", "done"],
        ["b", "skipped"],
    ]


def derive(job):
    write_derived_series(read_acquired(job.scan), job.scan, job.out, Content("derived"))


def test_a_series_that_was_cut_off_is_made_again(export, tmp_path, monkeypatch):
    jobs = jobs_of(export, tmp_path / "out")
    with monkeypatch.context() as stopped:
        stopped.setattr(series, "_set_voxels", stop_at_the_second_slice())
        with pytest.raises(OSError, match="No space"):
            run_jobs(jobs, derive)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    run_jobs(jobs, derive)
    assert [len(list(job.out.iterdir())) for job in jobs] == [len(HU)] * 3


def stop_at_the_second_slice(write=series._set_voxels):
    numbers = iter(range(2))

    def write_one(*arguments):
        if next(numbers):
            raise OSError(28, "No space left on device")
        write(*arguments)

    return write_one


def test_a_scan_is_not_done_because_those_below_it_are(tmp_path):
    for folder in ("a", "a/b"):
        write_series(tmp_path / "export" / folder, HU)
    jobs = jobs_of(tmp_path / "export", tmp_path / "out")
    derive(jobs[1])
    assert [job.name for job in to_do(jobs)] == ["a"]
    check_result_out(jobs[0].out, jobs[0].scan)
    run_jobs(jobs, derive)
    assert to_do(jobs) == []
    assert [path.name for path in sorted((tmp_path / "out/a").iterdir())] == ["0001.dcm", "0002.dcm", "0003.dcm", "b"]


def test_a_scan_whose_mask_is_missing_is_done_again(scans, tmp_path):
    jobs = jobs_of(scans, tmp_path / "out", mask_out=tmp_path / "masks")
    for name in ("out/a.mha", "out/b.nii.gz", "masks/b.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [job.name for job in to_do(jobs)] == ["a.mha"]


def test_results_do_not_lie_among_dicom_folders(export):
    with pytest.raises(UserError, match="the folder of the scans"):
        jobs_of(export, export / "out")


def test_results_do_not_replace_the_scans(scans):
    with pytest.raises(UserError, match="the folder of the scans"):
        jobs_of(scans, scans)


def test_what_failed_is_told_after_all_others_are_done_and_what_is_done_is_skipped(scans, tmp_path, capsys):
    jobs = jobs_of(scans, tmp_path / "out")
    with pytest.raises(UserError, match="1 of 2 scans failed"):
        run_jobs(jobs, work)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[:2] for row in rows] == [["a.mha", "failed"], ["b.nii.gz", "done"]]
    assert rows[0].endswith("a.mha: no CT")
    with pytest.raises(UserError):
        run_jobs(jobs, work, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["failed", "skipped"]


def test_one_scan_alone_is_done_again_and_its_fault_is_the_commands(scans, tmp_path, capsys):
    job = Job(scans / "b.nii.gz", tmp_path / "b.nii.gz")
    for _ in range(2):
        run_jobs([job], work, as_json=True)
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["done", "done"]
    with pytest.raises(UserError, match="no CT"):
        run_jobs([Job(scans / "a.mha", tmp_path / "a.mha")], work)


def test_a_fault_of_the_machine_ends_them_all(scans, tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_jobs(jobs_of(scans, tmp_path / "out"), full)
