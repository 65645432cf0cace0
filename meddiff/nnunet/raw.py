"""nnU-Net's raw format: a folder of images, one of label maps, and what their numbers mean."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from meddiff.machine.files import write_json
from meddiff.volumes import volumes

LESION = "lesion"


class RawPair(NamedTuple):
    """A CT with its label map, and the mask of its lesion if it has one; files.

    Args:
        id: what the case is called.
        split: train or val.
        image: the CT.
        labels: label ids.
        lesion: its lesion, on the same voxels; None where it has none.
    """

    id: str
    split: str
    image: Path
    labels: Path
    lesion: Path | None


def dataset_json(labels: dict[str, int], cases: int) -> dict[str, Any]:
    """Return what nnU-Net reads of a data set of CT; `labels` are name -> number, from 1 without a gap."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",  # arrays in the axis order z, y, x
    }


def write_raw(folder: Path, pairs: Sequence[RawPair], names: Sequence[str], background: Sequence[int]) -> None:
    """Write pairs as one of nnU-Net's raw data sets.

    nnU-Net wants labels without gaps, so that those of the pairs are counted anew. `splits_final.json` has their split;
    nnU-Net takes it when it lies in the preprocessed data set, else it divides the cases itself.

    Args:
        folder: `.../Dataset<number>_<name>`; what it holds is replaced.
        pairs: the cases.
        names: what each label id is called.
        background: label ids that are none here.
    """
    for part in ("imagesTr", "labelsTr"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    read = {pair.id: volumes.read_image(pair.labels) for pair in pairs}
    present = sorted({int(i) for image in read.values() for i in np.unique(volumes.to_zyx(image))} - {0, *background})
    numbers = {names[i]: number for number, i in enumerate(present, start=1)}
    numbers |= {LESION: len(numbers) + 1} if any(pair.lesion for pair in pairs) else {}
    table = np.zeros(256, np.uint8)
    table[present] = range(1, len(present) + 1)
    for pair in pairs:
        labels_zyx = table[volumes.to_zyx(read[pair.id])]
        if pair.lesion:
            labels_zyx[volumes.to_zyx(volumes.read_image(pair.lesion)) > 0] = numbers[LESION]
        shutil.copyfile(pair.image, folder / "imagesTr" / f"{pair.id}_0000.nii.gz")
        volumes.write_image(volumes.like(labels_zyx, read[pair.id]), folder / "labelsTr" / f"{pair.id}.nii.gz")
    by_split = {split: [pair.id for pair in pairs if pair.split == split] for split in ("train", "val")}
    write_json([by_split], folder / "splits_final.json")
    write_json(dataset_json(numbers, len(pairs)), folder / "dataset.json")
