"""nnU-Net's raw format: labels without gaps, a lesion last, and everybody in one split."""

import numpy as np

from meddiff.anatomy.appearance import NAMES
from meddiff.machine.files import read_json
from meddiff.nnunet.raw import RawPair, write_raw
from meddiff.volumes.volumes import from_zyx, read_image, to_zyx, write_image


def pair(folder, name, split, lesion):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3], labels[3] = 118, 51
    labels[0] = 5 if name == "a" else 10
    mask = np.zeros_like(labels)
    mask[1, 1, 1] = 1
    arrays = {"ct": labels.astype(np.int16) - 900, "labels": labels} | ({"lesion": mask} if lesion else {})
    for part, array in arrays.items():
        write_image(from_zyx(array, 2.0, (1.0, 2.0, 3.0)), folder / f"{name}-{part}.nii.gz")
    places = [folder / f"{name}-{part}.nii.gz" for part in ("ct", "labels", "lesion")]
    return RawPair(name, split, places[0], places[1], places[2] if lesion else None)


def test_what_nnunet_reads_is_what_was_made(tmp_path):
    raw = tmp_path / "Dataset900_MedDiff"
    pairs = [pair(tmp_path, "a", "train", lesion=True), pair(tmp_path, "b", "val", lesion=False)]
    write_raw(raw, pairs, NAMES, (118,))
    names = {"background": 0, "liver": 1, "lung_upper_lobe_left": 2, "heart": 3, "lesion": 4}
    dataset = read_json(raw / "dataset.json")
    assert (dataset["labels"], dataset["numTraining"]) == (names, 2)
    assert read_json(raw / "splits_final.json") == [{"train": ["a"], "val": ["b"]}]
    image, labels = read_image(raw / "imagesTr" / "a_0000.nii.gz"), read_image(raw / "labelsTr" / "a.nii.gz")
    assert (image.GetOrigin(), image.GetSize()) == (labels.GetOrigin(), labels.GetSize())
    found = to_zyx(labels)
    assert (found[0] == 1).all()
    assert (found[3] == 3).all()
    assert found[1, 1, 1] == 4
    assert found[1:3].sum() == 4
    assert set(np.unique(to_zyx(read_image(raw / "labelsTr" / "b.nii.gz")))) == {0, 2, 3}


def test_what_was_written_before_is_replaced(tmp_path):
    raw = tmp_path / "Dataset900_MedDiff"
    write_raw(raw, [pair(tmp_path, "a", "train", lesion=True)], NAMES, ())
    write_raw(raw, [pair(tmp_path, "b", "train", lesion=False)], NAMES, ())
    assert [path.name for path in sorted((raw / "imagesTr").iterdir())] == ["b_0000.nii.gz"]
    assert read_json(raw / "dataset.json")["labels"]["body"] == 3
