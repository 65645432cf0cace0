"""TotalSegmentator's own weights: where they are, whether they are whole, and how they come here.

TotalSegmentator downloads at first use, into one file that all its processes share, and takes a folder that exists for
one that is whole; several jobs at a time spoil each other's download, and one that was killed spoils all later ones.
So its download is not used: `fetch` brings the weights once, under a lock, and each model's folder appears whole.
"""

import logging
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meddiff.config import AnatomyConfig
from meddiff.datasets import Remote, download
from meddiff.datasets.download import NoConnection, Patience, cache_dir
from meddiff.errors import UserError
from meddiff.machine.locks import locked_after_others

log = logging.getLogger(__name__)

RELEASES = "https://github.com/wasserth/TotalSegmentator/releases/download"
FETCHING = ".meddiff-fetching"  # TotalSegmentator finds a model by `Dataset291` anywhere in a folder's name
PATIENCE = Patience(breaks=2, wait_seconds=2.0)
ELSEWHERE = "run `meddiff weights --to DIR` and set MEDDIFF_CACHE=DIR here"
CHECKPOINT = Path("fold_0", "checkpoint_final.pth")


@dataclass(frozen=True)
class Model:
    """One of the nnU-Net models that make up a resolution of the task `total`."""

    name: str
    trainer: str
    release: str

    @property
    def url(self) -> str:
        return f"{RELEASES}/{self.release}/{self.name}.zip"

    def checkpoint(self, folder: Path) -> Path:
        return folder / self.name / f"{self.trainer}__nnUNetPlans__3d_fullres" / CHECKPOINT

    def is_whole(self, folder: Path) -> bool:
        """Return whether everything that TotalSegmentator reads is there, as far as it can be told without loading."""
        checkpoint = self.checkpoint(folder)
        described = all((checkpoint.parents[1] / name).is_file() for name in ("dataset.json", "plans.json"))
        return described and checkpoint.is_file() and _is_complete(checkpoint)


def models(config: AnatomyConfig) -> tuple[Model, ...]:
    """Return the models of the configured resolution: five parts for `full`, one each for `fast` and `fastest`."""
    from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS

    mode = TASK_CONFIGS["total"]["sub_modes"]["default" if config.resolution == "full" else config.resolution]
    numbers = mode["task_id"] if isinstance(mode["task_id"], list) else [mode["task_id"]]
    entries = [TASK_ID_WEIGHTS_CONFIGS[number] for number in numbers]
    return tuple(Model(entry["foldername"], mode["trainer"], entry["version"]) for entry in entries)


def find(config: AnatomyConfig) -> Path:
    """Return the folder that holds all models of the configured resolution; it is only looked for, never fetched.

    Raises:
        UserError: some are missing or incomplete; says which, and which command brings them.
    """
    places = _places()
    for folder in places:
        if not _missing(config, folder):
            return folder
    raise UserError(f"{_lack(config, places[0])}; run `meddiff weights` here, or where there is a network {ELSEWHERE}")


def fetch(config: AnatomyConfig, to: Path | None = None) -> Path:
    """Return the folder with all models of the configured resolution, and bring what is missing.

    Args:
        config: for the resolution.
        to: the folder; none: where they are, else the first place where they are looked for.

    Raises:
        UserError: no connection, no space, or a broken archive; what came stays.
    """
    places = [to] if to else _places()
    for folder in places:
        if not _missing(config, folder):
            return folder
    folder = places[0]
    with locked_after_others(folder / ".meddiff-weights.lock", f"the weights in {folder}"):
        for model in _missing(config, folder):
            try:
                _bring(model, folder)
            except NoConnection as error:
                lack = _lack(config, folder)
                raise UserError(f"{lack}, and there is no network; where there is one {ELSEWHERE}") from error
    return folder


def _places() -> list[Path]:
    """Return where the weights are looked for: where TotalSegmentator is told to, our own cache, its usual place."""
    from totalsegmentator.config import get_totalseg_dir

    given = os.environ.get("TOTALSEG_WEIGHTS_PATH")
    told = [Path(given)] if given else []
    return [*told, cache_dir() / "totalsegmentator", get_totalseg_dir() / "nnunet" / "results"]


def _missing(config: AnatomyConfig, folder: Path) -> list[Model]:
    return [model for model in models(config) if not model.is_whole(folder)]


def _lack(config: AnatomyConfig, folder: Path) -> str:
    names = [model.name.partition("_")[0] for model in _missing(config, folder)]
    return f"anatomy.weights official: TotalSegmentator's {', '.join(names)} missing or incomplete in {folder}"


def _bring(model: Model, folder: Path) -> None:
    scratch = folder / FETCHING
    log.info("TotalSegmentator's weights: %s", model.name)
    archive = download.fetch(Remote(model.url), scratch, PATIENCE)
    unpacked = scratch / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        download.unpack(archive, unpacked)
        if not model.is_whole(unpacked):
            raise UserError(f"{model.url}: not the weights that TotalSegmentator expects; it was deleted, try again")
        shutil.rmtree(folder / model.name, ignore_errors=True)  # half of it, from an earlier download
        os.rename(unpacked / model.name, folder / model.name)
    finally:
        archive.unlink()
        shutil.rmtree(unpacked, ignore_errors=True)
    with suppress(OSError):  # something of another download is in it
        scratch.rmdir()


def _is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint has its end: torch writes a zip file, whose table of contents comes last."""
    with checkpoint.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return zipfile.is_zipfile(checkpoint) if is_zip else checkpoint.stat().st_size > 0
