"""One scan or a folder of them: skipped if done, told if failed, and a table."""

import json

import pytest

from meddiff.cli.jobs import Job, jobs_of, run_jobs
from meddiff.errors import UserError


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
    assert first == Job(scans / "a.mha", tmp_path / "out/a.mha", tmp_path / "masks/a.mha")
    assert second.scan.name == "b.nii.gz"


def test_a_file_and_a_dicom_folder_are_one_job(scans, tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/IM0001").touch()
    for scan in (scans / "b.nii.gz", tmp_path / "dicom"):
        assert jobs_of(scan, tmp_path / "out") == [Job(scan, tmp_path / "out")]


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
