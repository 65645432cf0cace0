"""Processes that tests start out of one that has imported what would take each of them seconds."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name

START_METHOD = "forkserver"
# A process with one thread is forked safely: pyarrow's allocator would start a second one.
os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
SECONDS = 1000  # after which a process is taken for one that waits for ever
multiprocessing.set_forkserver_preload(
    [
        *("torch._dynamo", "torch.utils.tensorboard", "meddiff.training.loop", "meddiff.model.controlnet"),
        *("snakemake.cli", "snakemake.workflow", "pytest"),
    ]
)


def run_forked(
    program: str, arguments: list[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program as a process of its own, and return what it prints; one that does not end is killed.

    Args:
        program: its entry point, as `module:function`.
        arguments: the first is its name.
        cwd: the folder that it runs in.
        environment: all its variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        given = (program, arguments, cwd, dict(environment), (out, err))
        process = multiprocessing.get_context(START_METHOD).Process(target=_run, args=given)
        process.start()
        process.join(SECONDS)
        process.kill()  # nothing to a process that has ended
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, out.read_text(), err.read_text())


def _run(
    program: str, arguments: list[str], cwd: Path, environment: dict[str, str], outputs: tuple[Path, Path]
) -> None:
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    resolve_name(program)()
