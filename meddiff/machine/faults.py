"""Faults of the machine, told from bad cases: the former end a job, the latter only lose their case.

A damaged file makes libraries raise errors of every kind, so whatever is not known as a fault of the machine is one of
the case. Known are: memory, of the computer or of a GPU; everything that CUDA, cuDNN and NCCL report; processes that
died; the network; a package that cannot be imported; and the errors of the operating system, but for those that a
file's name or content brings about.

Choice: a scan whose disk answers with an error or that may not be read (EIO, ESTALE, ETIMEDOUT, EACCES) ends the job.
Nothing is known to be wrong with the scan, `mount` or `chmod` brings it back, and a cohort that lost scans to its
server could not be told from a whole one.
"""

import errno
import os

from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.extras import how_to_get
from meddiff.machine.files import FULL_DISK

GO_ON = "then the same command goes on from here"
LONGEST = 300  # characters of a library's message

# Errors of the operating system that a case's own name or content brings about.
CASE_ERRNOS = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ,
}  # fmt: skip
GPU_MEMORY, MEMORY, GPU = "the GPU is out of memory", "out of memory", "the GPU failed"
NO_PROCESS, NETWORK, DISK = "a process of this job died", "the network failed", "the disk failed"
# Names of classes, so that nothing heavy is imported: this is asked wherever something fails.
CLASSES = {
    "OutOfMemoryError": GPU_MEMORY,
    "MemoryError": MEMORY,
    "AcceleratorError": GPU,
    "CudaError": GPU,
    "DistError": GPU,
    "BrokenExecutor": NO_PROCESS,
    "ConnectionError": NETWORK,
    "TimeoutError": NETWORK,
    "RequestException": NETWORK,  # of requests
    "TransportError": NETWORK,  # of httpx
    "HfHubHTTPError": NETWORK,
    "URLError": NETWORK,
}
# Parts of messages, in small letters; torch and ITK raise bare RuntimeErrors for these. The first that fits counts.
MESSAGES = {
    "cuda out of memory": GPU_MEMORY,
    "cuda error: out of memory": GPU_MEMORY,
    "hip out of memory": GPU_MEMORY,
    "status_alloc_failed": GPU_MEMORY,
    "can't allocate memory": MEMORY,
    "not enough memory": MEMORY,
    "failed to allocate memory": MEMORY,  # ITK
    "bad_alloc": MEMORY,
    "cannot allocate memory": MEMORY,
    "cuda error": GPU,
    "cuda driver": GPU,
    "cuda-capable device": GPU,
    "no nvidia driver": GPU,
    "hip error": GPU,
    "cudnn": GPU,
    "cublas": GPU,
    "cufft": GPU,
    "cusolver": GPU,
    "nccl": GPU,
    "dataloader worker": NO_PROCESS,
    "dataloader timed out": NO_PROCESS,
    "background worker": NO_PROCESS,  # nnU-Net
    "can't start new thread": NO_PROCESS,
}
NO_TEMPORARY = "No usable temporary directory"  # tempfile, with the errno of a missing file
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE)
MESSAGES |= {os.strerror(number).lower(): DISK for number in DISK_ERRNOS}
MENDS = {
    DISK: "see to it that this job can read and write",
    GPU_MEMORY: "end what else runs on it, or take a larger one or smaller batches",
    MEMORY: "give the job more, or let fewer run at a time",
    GPU: "look at it with `nvidia-smi`, or take another one",
    NO_PROCESS: "mostly for lack of memory; give the job more, or let fewer run at a time",
    NETWORK: "connect",
}


def ends_the_job(error: BaseException) -> bool:
    """Return whether work on one case has failed for a reason that is none of the case's."""
    return isinstance(error, UserError | TimeSliceEnded) or machine_fault(error) is not None


def machine_fault(error: BaseException) -> str | None:
    """Return what failed and how to mend it, in one line; None where the machine is not known to be at fault.

    An error that was raised from another one (`raise ... from`) is taken for that one.
    """
    if isinstance(error, ImportError):  # not further down: libraries try one package after the other
        mend = how_to_get(error.name or "") or "install the locked environment anew"
        return f"this installation is incomplete: {_text(error)}; {mend}"
    cause: BaseException | None = error
    while cause is not None:
        if line := _line(cause, _place(error)):
            return f"{line}, {GO_ON}"
        cause = cause.__cause__
    return None


def _line(error: BaseException, place: str) -> str | None:
    if isinstance(error, FileNotFoundError) and NO_TEMPORARY in str(error):
        return f"{error.strerror}; set TMPDIR to a folder that this job can write to"
    if not isinstance(error, OSError) or error.errno is None or isinstance(error, ConnectionError):
        kind = _kind(error)
        return f"{kind}{place}: {_text(error)}; {MENDS[kind]}" if kind else None
    if error.errno in CASE_ERRNOS:
        return None
    file = f" for {error.filename}" if error.filename else ""
    if error.errno in FULL_DISK:
        return f"{error.strerror}{file}; free some space"
    return f"{error.strerror}{place or file}; see to it that this job can read and write there"


def _kind(error: BaseException) -> str | None:
    names = [base.__name__ for base in type(error).__mro__]
    by_class = (CLASSES[name] for name in names if name in CLASSES)
    message = str(error).lower()
    by_message = (kind for part, kind in MESSAGES.items() if part in message)
    return next(by_class, None) or next(by_message, None)


def _place(error: BaseException) -> str:
    """Return the case that was worked on, as its shard has noted."""
    notes = getattr(error, "__notes__", ())
    return f" at {notes[-1]}" if notes else ""


def _text(error: BaseException) -> str:
    """Return the line of a message that tells most: ITK's last, of others the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "SimpleITK" in lines[0] else 0][:LONGEST]
