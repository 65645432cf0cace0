"""Options that several verbs share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meddiff.config import LARGEST_SEED, MODEL_REGIONS, Config, Region, load_config
from meddiff.config.stages import load_stage_config
from meddiff.errors import CaseError, UserError
from meddiff.machine.faults import machine_fault
from meddiff.weights import FOUNDATION, shipped_bundle

if TYPE_CHECKING:
    from meddiff.anatomy.numbering import MaskFile
    from meddiff.api import MedDiffFM

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration, YAML.")]
Out = Annotated[Path, typer.Option("--out", help="Folder or file to write.")]
IndexOut = Annotated[
    Path,
    typer.Option("--index", help="Index to write: a line per case with status and reason; the cases lie beside it."),
]
Manifest = Annotated[Path, typer.Option(help="Manifest that `meddiff stage index` wrote.")]
StoreIndices = Annotated[list[Path], typer.Option("--store", help="Indices of the crop store.")]
Pairs = Annotated[Path, typer.Option(help="Index of the pairs that `meddiff stage low_dose` wrote.")]
ResultsFolder = Annotated[Path, typer.Option("--results", help="Output folder of the pipeline.")]
ModelBundle = Annotated[str, typer.Option("--model", help="Folder of a model bundle, or its id on Hugging Face.")]
OwnModel = Annotated[
    str | None,
    typer.Option("--model", help="A model bundle's folder, or its id on Hugging Face; none: the package's own."),
]
ScanFile = Annotated[
    Path,
    typer.Argument(
        metavar="SCAN", help="NIfTI, NRRD or MHA file, a DICOM folder, or a folder of such files or folders."
    ),
]
AnatomyMask = Annotated[
    Path | None,
    typer.Option("--anatomy", help="Labels 0 to 118, a folder of structures, RTSTRUCT or SEG; none: TotalSegmentator."),
]
AnatomyVersion = Annotated[
    int,
    typer.Option(min=1, max=3, help="TotalSegmentator's, by which the mask counts, where it does not name its labels."),
]
OwnControl = Annotated[
    Path | None, typer.Option("--control", help="Folder of a ControlNet's bundle; none: the package's own.")
]
OwnConfig = Annotated[
    Path | None, typer.Option("--config", help="Configuration; none: the defaults, with the model's anatomy.")
]
Anyway = Annotated[bool, typer.Option("--anyway", help="Go on also where the scan or the mask spoils the result.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the noise.")]
Runs = Annotated[Path, typer.Option(help="Folder of checkpoints and statistics.")]
MaxMinutes = Annotated[float, typer.Option(help="Stop with a checkpoint and exit 75 after this time.")]
Workers = Annotated[int, typer.Option("--threads", min=1, help="Cases that are worked on at the same time.")]
MemoryMB = Annotated[int, typer.Option(help="Memory for all of them; a case that needs more is worked on alone.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; none: the configured.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what became of each scan as a line of JSON.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Never more than there are cores; none: OMP_NUM_THREADS, or all cores.")
]


def open_model(
    model: str | None,
    config: Path | None,
    device: str | None,
    threads: int | None,
    anyway: bool = False,
    lesions: Path | None = None,
    super_resolution: Path | None = None,
) -> "MedDiffFM":
    """Return the model that a verb works with."""
    from meddiff.api import MedDiffFM
    from meddiff.machine.device import set_up_cpu

    set_up_cpu(threads)
    settings = load_config(config) if config else None
    opened = MedDiffFM.from_pretrained(model, lesions, super_resolution, settings, device)
    opened.anyway = anyway
    return opened


def own_model(given: str | None) -> str:
    """Return the bundle to use: the given one, or the default."""
    return given or str(shipped_bundle(FOUNDATION))


def own_config(path: Path | None, bundle: str | None = None) -> Config:
    """Return the user's configuration, or the defaults, with the anatomy weights that a bundle was trained with."""
    if path:
        return load_config(path)
    if bundle is None:
        return Config()
    from meddiff.model.foundation import read_anatomy_config

    return Config(anatomy=read_anatomy_config(bundle))


def check_volume_out(path: Path, *others: Path | None, option: str = "--out") -> None:
    """Refuse a place where no volume can or should be written, before long work begins.

    Args:
        path: the file to write.
        others: what is read, and what else is written; none of it may be replaced.
        option: how the user gave the path.

    Raises:
        UserError: no name of a volume, a folder, one of the others or a file within it, or no place to write to.
    """
    from meddiff.volumes.volumes import WRITTEN_SUFFIXES

    if not path.name.lower().endswith(WRITTEN_SUFFIXES):
        raise UserError(f"{option} {path}: no name of a volume; end it with one of {', '.join(WRITTEN_SUFFIXES)}")
    _check_place(path, others, option)


def check_result_out(path: Path, scan: Path, *others: Path | None) -> None:
    """Refuse a place for a result on a scan: a volume, or of a DICOM folder a folder for a series, too.

    Raises:
        UserError: see `check_volume_out` and `check_derivable`.
    """
    from meddiff.derived.series import check_derivable
    from meddiff.volumes.volumes import is_volume_file

    if not scan.is_dir() or is_volume_file(path):
        check_volume_out(path, scan, *others)
    else:
        with naming(scan):
            check_derivable(scan, path)


def check_labels_out(path: Path, scan: Path, *others: Path | None, option: str) -> None:
    """Refuse a place for labels of a scan: a volume, or of a DICOM folder a SEG or RTSTRUCT, too.

    Raises:
        UserError: see `check_volume_out` and `check_labels_derivable`.
    """
    from meddiff.derived.labels import check_labels_derivable, is_dicom_labels

    if not is_dicom_labels(path):
        check_volume_out(path, scan, *others, option=option)
        return
    if not scan.is_dir():
        raise UserError(f"{option} {path}: SEG and RTSTRUCT refer to a DICOM series; {scan} is none, name a volume")
    with naming(scan):
        check_labels_derivable(scan, path)
    _check_place(path, (scan, *others), option)


def _check_place(path: Path, others: tuple[Path | None, ...], option: str) -> None:
    if path.is_dir():
        raise UserError(f"{option} {path}: a folder; name a file")
    place = path.resolve()
    for other in others:
        if other and (place == other.resolve() or other.resolve() in place.parents):
            raise UserError(f"{option} {path}: it would replace {other}, or lie in it; give another name")
    folder = next(parent for parent in place.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: nothing can be written to {folder}; give another place")


def mask_file(anatomy: Path | None, version: int) -> "MaskFile | None":
    """Return the user's anatomy mask, if there is one."""
    from meddiff.anatomy.numbering import MaskFile

    return MaskFile(anatomy, version) if anatomy else None


def check_region(region: Region) -> None:
    """Refuse a region that no model knows.

    Raises:
        UserError: it is the whole body, which the pipeline splits.
    """
    if region not in MODEL_REGIONS:
        raise UserError(f"--region {region}: models know {', '.join(MODEL_REGIONS)}; name the part to work on")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in the reason why one file of the user cannot be used.

    Raises:
        UserError: in the place of a CaseError that is no fault of the machine.
    """
    try:
        yield
    except CaseError as error:
        if machine_fault(error):
            raise
        raise UserError(f"{path}: {error}") from error


def one_thread_per_case() -> None:
    """Let the libraries of array mathematics use one thread each; to be called before they are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"


def stage_config(path: Path, stage: str) -> Config:
    """Return what the stage may read of a configuration."""
    return load_stage_config(path, stage)
