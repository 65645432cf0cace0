"""Faults of the machine and bad cases are told apart, and a fault is told in one line."""

import errno
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from urllib.error import URLError

import numpy as np
import pytest
import requests
import SimpleITK as sitk
import torch

from meddiff.cli.options import naming
from meddiff.diffusion.sampling import SavedState
from meddiff.errors import CaseError, TimeSliceEnded, UserError
from meddiff.machine.faults import ends_the_job, machine_fault
from meddiff.training import checkpoint
from meddiff.volumes import volumes

ITK_MEMORY = (
    "Exception thrown in SimpleITK Cast: /tmp/itkImportImageContainer.hxx:179:\nFailed to allocate memory for image."
)


def caused(error, cause):
    error.__cause__ = cause
    return error


def os_error(number):
    return OSError(number, os.strerror(number))


MACHINE = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "the GPU is out of memory"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "the GPU is out of memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "the GPU is out of memory"),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), "the GPU failed"),
    (RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors"), "the GPU failed"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed"),
    (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR"), "the GPU failed"),
    (torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:268"), "the GPU failed"),
    (RuntimeError("Found no NVIDIA driver on your system."), "the GPU failed"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), "out of memory"),
    (RuntimeError("std::bad_alloc"), "out of memory"),
    (RuntimeError(ITK_MEMORY), "out of memory: Failed to allocate memory for image."),
    (np._core._exceptions._ArrayMemoryError((2, 2), np.dtype("f4")), "out of memory"),
    (BrokenProcessPool("A process in the process pool was terminated abruptly"), "a process of this job died"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a process of this job died"),
    (RuntimeError("DataLoader timed out after 900 seconds"), "a process of this job died"),
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "No usable temporary"),
    (requests.exceptions.ConnectionError("Max retries exceeded"), "the network failed"),
    (URLError("name resolution"), "the network failed"),
    (TimeoutError("timed out"), "the network failed"),
    (RuntimeError("failed writing: No space left on device"), "the disk failed"),
    (ModuleNotFoundError("No module named 'blosc2'"), "this installation is incomplete: No module named 'blosc2'"),
    *((os_error(number), os.strerror(number)) for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)),
    *((os_error(number), os.strerror(number)) for number in (errno.ENOTCONN, errno.EMFILE, errno.ENOSPC, errno.EROFS)),
    (caused(CaseError("unreadable or truncated"), RuntimeError(ITK_MEMORY)), "out of memory"),
    (caused(RuntimeError("Exception in worker"), os_error(errno.EIO)), "Input/output error"),
]
CASE = [
    CaseError("no lungs"),
    ValueError("operands could not be broadcast together"),
    RuntimeError("Sizes of tensors must match except in dimension 1"),
    KeyError("SliceThickness"),
    AttributeError("'Dataset' object has no attribute 'Rows'"),
    EOFError("Compressed file ended before the end-of-stream marker was reached"),
    OSError("Not a gzipped file (b'xx')"),
    *(os_error(number) for number in (errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)),
    # a library that tries one decoder after the other, none of which is installed for this damaged file
    caused(RuntimeError("Unable to decode"), ModuleNotFoundError("No module named 'gdcm'")),
]


@pytest.mark.parametrize(("error", "line"), MACHINE, ids=lambda value: repr(value)[:60])
def test_a_fault_of_the_machine_ends_the_job_in_one_line(error, line):
    assert ends_the_job(error)
    said = machine_fault(error)
    assert said is not None
    assert said.startswith(line)
    assert "\n" not in said


@pytest.mark.parametrize("error", CASE, ids=repr)
def test_an_error_that_a_damaged_file_may_cause_is_the_fault_of_the_case(error):
    assert machine_fault(error) is None
    assert not ends_the_job(error)


@pytest.mark.parametrize("error", [UserError("mend this"), TimeSliceEnded("goes on")])
def test_what_the_user_mends_and_the_end_of_a_time_slice_end_the_job_too(error):
    assert ends_the_job(error)
    assert machine_fault(error) is None


def test_the_line_names_the_case_but_not_its_path():
    error = PermissionError(errno.EACCES, "Permission denied", "/scans/Jane Doe/ct.nii.gz")
    error.add_note("own_case7")
    assert machine_fault(error) == (
        "Permission denied at own_case7; see to it that this job can read and write there, "
        "then the same command goes on from here"
    )


@pytest.mark.parametrize(
    "raised", ["torch.OutOfMemoryError('CUDA out of memory')", "OSError(5, 'Input/output error')", "MemoryError()"]
)
def test_the_program_ends_with_one_line_and_exit_code_1(raised):
    code = (
        "import sys, torch; from meddiff.cli import main; from meddiff.demo import scans\n"
        f"def fetch(*_): raise {raised}\n"
        "scans.fetch = fetch; sys.argv = ['meddiff', 'fetch', 'demo-chest', '--out', 'x']; main.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("meddiff: ")
    assert done.stderr.count("\n") == 1


def test_other_errors_keep_their_trace():
    code = (
        "import sys; from meddiff.cli import main; from meddiff.demo import scans\n"
        "def fetch(*_): raise ValueError('a mistake')\n"
        "scans.fetch = fetch; sys.argv = ['meddiff', 'fetch', 'demo-chest', '--out', 'x']; main.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "ct.mha"
    volumes.write_image(volumes.from_zyx(np.full((8, 8, 8), -1000, np.int16), 2.0), path)
    return path


def test_a_file_that_the_system_does_not_let_be_read_is_no_bad_case(volume, monkeypatch):
    """ITK says of both only that it cannot read; whoever runs the tests as root may read everything."""

    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, _):
            raise os_error(errno.EIO)

    volume.write_bytes(volume.read_bytes()[:100])
    with pytest.raises(CaseError, match="unreadable or truncated"):
        volumes.read_image(volume)
    monkeypatch.setattr(type(volume), "open", lambda *_: Failing())
    with pytest.raises(OSError, match="Input/output error"):
        volumes.read_image(volume)


def test_memory_that_is_short_while_a_volume_is_read_is_no_bad_case(volume, monkeypatch):
    class Reader(sitk.ImageFileReader):
        def Execute(self):
            raise RuntimeError(ITK_MEMORY)

    monkeypatch.setattr(sitk, "ImageFileReader", Reader)
    with pytest.raises(CaseError) as caught:
        volumes.read_image(volume)
    assert ends_the_job(caught.value)


def test_one_scan_that_memory_is_short_for_is_not_called_bad(tmp_path):
    with pytest.raises(UserError, match=r"ct\.nii\.gz: no lungs"), naming(tmp_path / "ct.nii.gz"):
        raise CaseError("no lungs")
    with pytest.raises(CaseError) as caught, naming(tmp_path / "ct.nii.gz"):
        raise CaseError("unreadable or truncated") from RuntimeError(ITK_MEMORY)
    assert machine_fault(caught.value).startswith("out of memory")


def test_a_header_that_promises_more_than_the_memory_holds_is_a_bad_case(volume):
    volume.write_bytes(volume.read_bytes().replace(b"DimSize = 8 8 8", b"DimSize = 88888 88888 88888"))
    with pytest.raises(CaseError, match="promises more voxels than the file can hold") as caught:
        volumes.read_image(volume)
    assert not ends_the_job(caught.value)


def test_a_state_that_cannot_be_read_for_a_fault_of_the_machine_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    saved = SavedState(tmp_path / "state.pt", "same")
    saved.save(x=torch.zeros(3))
    checkpoint.save({"step": 1}, 1, tmp_path, keep=2)

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "load", out_of_memory)
    for load in (saved.load, lambda: checkpoint.load_latest(tmp_path, torch.device("cpu"))):
        with pytest.raises(torch.OutOfMemoryError):
            load()
