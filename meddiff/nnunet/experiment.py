"""nnU-Net v2 through its own commands: one data set, one plan and one trainer in a folder of their own."""

import copy
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddiff.errors import UserError
from meddiff.machine.files import read_json, write_json
from meddiff.machine.threads import available_threads

TRAINERS = Path(__file__).parent / "trainer"
PLANNED, SMALL = "3d_fullres", "3d_small"  # configurations of the plan
NNUNET_LENGTH = (1000, 250)  # epochs and iterations of nnU-Net's own trainer
MOST_PROCESSES = 4  # as nnU-Net for this configuration; each holds a volume and its resampled copy


@dataclass(frozen=True)
class SmallNetwork:
    """A network of 4 stages on small cubic patches, for a run of minutes, instead of the one that nnU-Net plans."""

    patch_vox: int
    batch_size: int
    spacing_mm: float | None = None  # isotropic; None is the planned spacing


@dataclass(frozen=True)
class Experiment:
    """Where an experiment lies and how it is trained; always on all cases, nnU-Net's fold `all`.

    Attributes:
        folder: raw, preprocessed, results and logs lie below it; the environment of this process stays as it is.
        dataset: nnU-Net's name of the data set, `Dataset001_Name`.
        epochs: of training.
        iterations: of each epoch.
        small: a small network with a short run's optimizer; None is nnU-Net's own plan and optimizer.
        mirror: whether a small network's training mirrors; nnU-Net's own does.
    """

    folder: Path
    dataset: str
    epochs: int
    iterations: int
    small: SmallNetwork | None = None
    mirror: bool = True

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / self.dataset

    @property
    def configuration(self) -> str:
        return SMALL if self.small else PLANNED

    @property
    def trainer(self) -> str:
        if self.small:
            return "ShortTrainer"
        return "nnUNetTrainer" if (self.epochs, self.iterations) == NNUNET_LENGTH else "LengthTrainer"

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.folder / "results" / self.dataset / f"{self.trainer}__nnUNetPlans__{self.configuration}"

    @property
    def checkpoint(self) -> Path:
        """The weights of the finished training."""
        return self.model / "fold_all" / "checkpoint_final.pth"

    def prepare(self) -> None:
        """Look at the raw data, plan and preprocess; a small network's few cases in one process."""
        processes = "1" if self.small else str(min(MOST_PROCESSES, available_threads()))
        self._run("nnUNetv2_plan_and_preprocess", "-d", self._id, "--no_pp", "-npfp", processes)
        if self.small:
            _add_small(self.small, self.folder / "preprocessed" / self.dataset / "nnUNetPlans.json")
        self._run("nnUNetv2_preprocess", "-d", self._id, "-c", self.configuration, "-np", processes)

    def train(self, device: str) -> None:
        """Train the prepared data; goes on from the newest whole checkpoint."""
        for checkpoint in self.checkpoint.parent.glob("checkpoint_*.pth"):
            if not zipfile.is_zipfile(checkpoint):  # nnU-Net was killed while it wrote this one
                checkpoint.unlink()
        arguments = (self._id, self.configuration, "all", "-tr", self.trainer, "-device", device, "--c")
        self._run("nnUNetv2_train", *arguments, environment=self._short_run())

    def predict(self, source: Path, target: Path, device: str, probabilities: bool, log: Path) -> None:
        """Write a label map into `target` for each image of `source`, whose names are `<id>_0000.nii.gz`.

        A small network predicts without mirroring and in one process.

        Args:
            source: folder with the images.
            target: folder for `<id>.nii.gz`.
            device: cpu or cuda.
            probabilities: also write `<id>.npz`, whose `probabilities` have the axes class, z, y, x.
            log: file for nnU-Net's output.
        """
        model = ("-d", self._id, "-c", self.configuration, "-tr", self.trainer, "-f", "all")
        arguments = [*model, "-i", str(source), "-o", str(target), "-device", device, "--disable_progress_bar"]
        if self.small:
            arguments += ["--disable_tta", "-npp", "0", "-nps", "0"]
        if probabilities:
            arguments += ["--save_probabilities"]
        self._run("nnUNetv2_predict", *arguments, log=log, environment=self._short_run())

    @property
    def _id(self) -> str:
        return str(int(self.dataset[len("Dataset") :][:3]))

    def _short_run(self) -> dict[str, str]:
        """Return settings for a small network, which would spend its time on starting workers and on compiling.

        nnU-Net takes `nnUNet_n_proc_DA` amiss while it plans.
        """
        if not self.small:
            return {}
        return {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "false", "nnUNet_def_n_proc": str(available_threads())}

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_results": str(self.folder / "results"),
            "nnUNet_extTrainer": str(TRAINERS),
            "MEDDIFF_NNUNET_EPOCHS": str(self.epochs),
            "MEDDIFF_NNUNET_ITERATIONS": str(self.iterations),
            "MEDDIFF_NNUNET_MIRROR": str(int(self.mirror)),
            "PYTHONUNBUFFERED": "1",  # its progress shall be seen when it happens, also through a pipe
        }

    def _run(
        self, command: str, *arguments: str, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        """Run one of nnU-Net's commands; its output is printed and kept in a log.

        Raises:
            UserError: the command failed.
        """
        program = str(Path(sys.executable).with_name(command))
        log = log or self.folder / "logs" / f"{command}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("a", buffering=1, encoding="utf-8") as file,
            subprocess.Popen(
                [program, *arguments],
                env=self._environment() | (environment or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            ) as process,
        ):
            for line in process.stdout or ():
                print(line, end="", flush=True)
                file.write(line)
        if process.returncode:
            raise UserError(f"{command} failed with exit code {process.returncode}; its output is in {log}")


def _add_small(small: SmallNetwork, plans_file: Path) -> None:
    plans = read_json(plans_file)
    architecture = copy.deepcopy(plans["configurations"][PLANNED]["architecture"])
    stages = 4
    architecture["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": [16, 32, 64, 128],
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    configuration: dict[str, Any] = {
        "inherits_from": PLANNED,
        "data_identifier": "small",
        "patch_size": [small.patch_vox] * 3,
        "batch_size": small.batch_size,
        "architecture": architecture,
    }
    if small.spacing_mm:
        configuration["spacing"] = [small.spacing_mm] * 3
    plans["configurations"][SMALL] = configuration
    write_json(plans, plans_file)
