"""nnU-Net for one or a few lesion labels: the fully supervised reference, and the judge of generated lesions."""

import hashlib
import itertools
import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.config import NnUNetConfig
from meddiff.errors import UserError
from meddiff.machine.files import digest, read_json, sha256, write_json
from meddiff.machine.locks import locked
from meddiff.machine.shards import sidecar
from meddiff.nnunet.experiment import Experiment, SmallNetwork
from meddiff.nnunet.raw import dataset_json
from meddiff.volumes import volumes

log = logging.getLogger(__name__)

DATASET = "Dataset001_Lesion"
SMALL = SmallNetwork(patch_vox=32, batch_size=2)  # of two patches nnU-Net draws one around a lesion
IDS = re.compile(r"[A-Za-z0-9_-]+")
IMAGES_PER_CALL = 16  # what a kill loses at most; nnU-Net loads its model anew for every call


@dataclass(frozen=True)
class NnUNet:
    """One model: trained once, then used for any number of images.

    Attributes:
        folder: everything of the training lies below it.
        config: length and size.
        device: cpu or cuda.
    """

    folder: Path
    config: NnUNetConfig
    device: str

    def train(self, cases: Iterable[tuple[str, sitk.Image, sitk.Image]]) -> None:
        """Train on all cases. A stopped training goes on, a finished one stays; other cases or settings start anew.

        nnU-Net clips HU to the range that it finds inside lesions, so these must not all have one and the same value.

        Args:
            cases: id, CT in HU, and label map on the CT's grid, uint8, 0 for background and lesions from 1.

        Raises:
            UserError: an id is unsafe or occurs twice, there is no lesion, one of nnU-Net's commands failed, or another
                process trains in this folder.
        """
        with locked(self.folder / "lock", f"nnU-Net: {self.folder}"):
            self._train(cases)

    def _train(self, cases: Iterable[tuple[str, sitk.Image, sitk.Image]]) -> None:
        key = digest([self._write_raw(cases), self.config.model_dump()])
        prepared = self.folder / "preprocessed" / "inputs.json"  # lies where it goes with what it describes
        if _read(prepared) != key:
            for part in ("preprocessed", "results"):
                shutil.rmtree(self.folder / part, ignore_errors=True)
            self._experiment.prepare()
            write_json(key, prepared)
        if self._is_trained():
            log.info("nnU-Net: trained before on the same cases")
        else:
            self._experiment.train(self.device)

    def predict(self, images: Mapping[str, sitk.Image], out: Path, probability: bool = False) -> None:
        """Write `out/<id>.nii.gz`, a uint8 label map on the image's own grid, for each image.

        What was made before from the same image by the same model is kept.

        Args:
            images: CT in HU by id; an image is asked for twice, so that the mapping may read it from disk.
            out: folder for the results.
            probability: also write `out/<id>_probability.nii.gz`, float32, that a voxel is of any lesion.

        Raises:
            UserError: an id is unsafe, there is no trained model, or nnU-Net failed.
        """
        if not self._is_trained():
            raise UserError(f"{self.folder}: no trained nnU-Net; train it first")
        model = sha256(self._experiment.checkpoint)
        keys = {}
        for case_id, image in images.items():
            _refuse_unsafe(case_id)
            key = digest([model, _identity(image), probability])
            if not _is_predicted(out, case_id, key, probability):
                keys[case_id] = key
        todo = iter(keys)
        while batch := list(itertools.islice(todo, IMAGES_PER_CALL)):
            self._predict({case_id: images[case_id] for case_id in batch}, keys, out, probability)

    @property
    def _experiment(self) -> Experiment:
        small = SMALL if self.config.small else None
        return Experiment(self.folder, DATASET, self.config.epochs, self.config.iterations, small)

    def _is_trained(self) -> bool:
        return zipfile.is_zipfile(self._experiment.checkpoint)  # a checkpoint is a zip file whose list comes last

    def _write_raw(self, cases: Iterable[tuple[str, sitk.Image, sitk.Image]]) -> dict[str, str]:
        """Make nnU-Net's raw dataset hold these cases, and return what identifies each."""
        raw = self._experiment.raw
        record = raw / "cases.json"  # what the folder holds; absent while that is not known
        known = _read(record) or {}
        identities: dict[str, str] = {}
        labels_count = 0
        for case_id, ct, labels in cases:
            _refuse_unsafe(case_id)
            if case_id in identities:
                raise UserError(f"case {case_id} occurs twice in nnU-Net's training")
            identities[case_id] = digest([_identity(ct), _identity(labels)])
            labels_zyx = volumes.to_zyx(labels)
            labels_count = max(labels_count, int(labels_zyx.max()))
            if known.get(case_id) != identities[case_id]:
                record.unlink(missing_ok=True)
                volumes.write_image(ct, raw / "imagesTr" / f"{case_id}_0000.nii.gz")
                volumes.write_image(volumes.like(labels_zyx, ct), raw / "labelsTr" / f"{case_id}.nii.gz")
        if not labels_count:
            raise UserError(f"none of the {len(identities)} cases for nnU-Net's training has a lesion")
        if identities != known:
            record.unlink(missing_ok=True)
            _keep_only(raw, set(identities))
            lesions = {f"lesion_{label}": label for label in range(1, labels_count + 1)}
            write_json(dataset_json(lesions, len(identities)), raw / "dataset.json")
            write_json(identities, record)
        return identities

    def _predict(self, images: dict[str, sitk.Image], keys: dict[str, str], out: Path, probability: bool) -> None:
        """Predict some images with one call of nnU-Net; after a failure its files stay for a look at the log."""
        work = out / f".nnunet-{digest([keys[case_id] for case_id in images])}"
        shutil.rmtree(work, ignore_errors=True)
        for case_id, image in images.items():
            volumes.write_image(image, work / "in" / f"{case_id}_0000.nii.gz")
        self._experiment.predict(work / "in", work / "out", self.device, probability, work / "predict.log")
        for case_id, image in images.items():
            labels, score = _outputs(out, case_id)
            sidecar(labels).unlink(missing_ok=True)
            labels_zyx = volumes.to_zyx(volumes.read_image(work / "out" / f"{case_id}.nii.gz"))
            volumes.write_image(volumes.like(labels_zyx.astype(np.uint8), image), labels)
            if probability:
                score_zyx = _foreground_probability(work / "out" / f"{case_id}.npz")
                volumes.write_image(volumes.like(score_zyx, image), score)
            write_json({"key": keys[case_id]}, sidecar(labels))
        shutil.rmtree(work)


class Images(Mapping[str, sitk.Image]):
    """Images that are read when they are asked for; all of a data set would not fit into memory.

    Args:
        names: ids of the images.
        read: returns the image of an id.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str], sitk.Image]) -> None:
        self._names, self._read = list(names), read

    def __getitem__(self, name: str) -> sitk.Image:
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _refuse_unsafe(case_id: str) -> None:
    if not IDS.fullmatch(case_id):
        raise UserError(f"case id {case_id!r} cannot be a file name for nnU-Net; use letters, digits, - and _")


def _identity(image: sitk.Image) -> str:
    """Return what tells this image from any other: its voxels, their type and its grid."""
    voxels = hashlib.sha256(sitk.GetArrayViewFromImage(image).data).hexdigest()
    grid = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return digest([voxels, image.GetPixelIDTypeAsString(), grid])


def _read(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _keep_only(raw: Path, case_ids: set[str]) -> None:
    for folder, suffix in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        for path in (raw / folder).iterdir():
            if path.name.removesuffix(suffix) not in case_ids:
                path.unlink()


def _outputs(out: Path, case_id: str) -> tuple[Path, Path]:
    return out / f"{case_id}.nii.gz", out / f"{case_id}_probability.nii.gz"


def _is_predicted(out: Path, case_id: str, key: str, probability: bool) -> bool:
    labels, score = _outputs(out, case_id)
    there = labels.exists() and (score.exists() or not probability)
    return there and (_read(sidecar(labels)) or {}).get("key") == key


def _foreground_probability(npz: Path) -> np.ndarray:
    """Return 1 minus the probability of background: `zyx`, float32, on the image's own grid as nnU-Net stores it."""
    with np.load(npz, allow_pickle=False) as arrays:
        return (1 - arrays["probabilities"][0]).astype(np.float32)
