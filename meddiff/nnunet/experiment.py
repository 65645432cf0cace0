"""nnU-Net v2, each step in a process of its own: one data set, one plan and one trainer in a folder of their own."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from meddiff.errors import UserError
from meddiff.machine.threads import available_threads
from meddiff.nnunet import prepare
from meddiff.nnunet.prepare import PLANNED, SMALL

TRAINERS = Path(__file__).parent / "trainer"
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
        processes = 1 if self.small else min(MOST_PROCESSES, available_threads())
        small = json.dumps(asdict(self.small) if self.small else None)
        self._run("prepare", sys.executable, "-m", prepare.__name__, self._id, str(processes), small)

    def train(self, device: str) -> None:
        """Train the prepared data; goes on from the newest whole checkpoint."""
        for checkpoint in self.checkpoint.parent.glob("checkpoint_*.pth"):
            if not zipfile.is_zipfile(checkpoint):  # nnU-Net was killed while it wrote this one
                checkpoint.unlink()
        arguments = (self._id, self.configuration, "all", "-tr", self.trainer, "-device", device, "--c")
        self._run("train", _program("nnUNetv2_train"), *arguments, environment=self._short_run())

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
        program = _program("nnUNetv2_predict")
        model = ("-d", self._id, "-c", self.configuration, "-tr", self.trainer, "-f", "all")
        arguments = [*model, "-i", str(source), "-o", str(target), "-device", device, "--disable_progress_bar"]
        if self.small:
            arguments += ["--disable_tta", "-npp", "0", "-nps", "0"]
        if probabilities:
            arguments += ["--save_probabilities"]
        self._run("predict", program, *arguments, log=log, environment=self._short_run())

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
        self, name: str, *command: str, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        """Run a program of nnU-Net; its output is printed and kept in a log.

        Raises:
            UserError: it failed.
        """
        log = log or self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("a", buffering=1, encoding="utf-8") as file,
            subprocess.Popen(
                command,
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
            raise UserError(f"nnU-Net's {name} failed with exit code {process.returncode}; its output is in {log}")


def _program(name: str) -> str:
    """Return the path of one of nnU-Net's commands, which lies beside this Python."""
    return str(Path(sys.executable).with_name(name))
