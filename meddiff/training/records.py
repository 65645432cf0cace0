"""The stored regions that a model is trained on, by split: those of the pretraining, or of a lesion dataset."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddiff.config import LevelWeights
from meddiff.errors import UserError
from meddiff.machine.files import digest, read_json, write_json
from meddiff.store.patches import Draw, PatchDataset, draw
from meddiff.store.query import where
from meddiff.store.record import Record
from meddiff.training import distributed
from meddiff.training.run import Run
from meddiff.training.status import last_validation


@dataclass(frozen=True)
class TrainingRecords:
    """The records of the training and of the validation split, and a digest of the former."""

    training: list[Record]
    validation: list[Record]
    digest: str

    @classmethod
    def from_store(cls, records: list[Record], role: str = "pretraining") -> "TrainingRecords":
        """Choose from a store's records those of datasets with this role.

        Raises:
            UserError: there are none for training.
        """
        training, validation = (where(records, role=role, split=split) for split in ("train", "val"))
        if not training:
            raise UserError(
                f"no region of {len(records)} is in the training split; add datasets or see the quarantine list"
            )
        return cls(training, validation, digest([(record.id, record.sha256) for record in training]))

    def patches(
        self, samples: int, levels: LevelWeights, patch_vox: int, seed: int, drawer: Draw = draw
    ) -> PatchDataset:
        """Return all samples of a run."""
        return PatchDataset(self.training, levels, patch_vox, seed, samples, drawer)

    def claim(self, folder: Path, settings: str) -> None:
        """Write into a run's folder what it is, or make sure that it is still the same.

        Raises:
            UserError: the folder holds a run with another configuration or other data.
        """
        identity = {"settings": settings, "records": [record.id for record in self.training]}
        path = folder / "run.json"
        if not path.exists():
            if distributed.rank() == 0:
                write_json(identity, path)
        elif read_json(path) != identity:
            raise UserError(
                f"{folder}: holds a run with another configuration or other data; give this run another folder"
            )

    def facts(self, run: Run, samples_per_step: int) -> dict[str, Any]:
        """Return what the card of a model from this run says of its training."""
        return {
            "steps": run.steps,
            "samples_per_step": samples_per_step,
            "epochs": run.steps * samples_per_step / len(self.training),
            "seed": run.seed,
            "run": run.folder.name,
            "validation": last_validation(run.folder),
            "regions_per_dataset": dict(Counter(record.meta.dataset for record in self.training)),
            "anatomy_weights": self.training[0].meta.anatomy_weights,
            "recipe": _recipe(run.folder),
        }

    @property
    def spacing_mm(self) -> float:
        return self.training[0].meta.spacing_mm


def _recipe(folder: Path) -> dict[str, Any]:
    """Return the values of the configuration that decided a run, but for the place of a bundle on somebody's disk."""
    recipe = json.loads(read_json(folder / "run.json")["settings"])
    for section in ("training", "finetuning"):
        recipe.get(section, {}).pop("start_from", None)
    return recipe
