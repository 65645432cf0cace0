"""The unmodified TotalSegmentator with the demo weights, offline."""

import errno
import json

import numpy as np
import pytest

from meddiff.anatomy import demo_weights, segmenter
from meddiff.anatomy.labels import CLASS_NAMES, LUNG, ids
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import AnatomyConfig
from meddiff.demo.phantom import make_phantom
from meddiff.metrics.overlap import dice
from meddiff.volumes import volumes

CONFIG = AnatomyConfig(weights="demo", resolution="fastest")


@pytest.fixture(scope="module")
def chest():
    return make_phantom(50, 4.0, "chest")


@pytest.fixture(scope="module")
def segmented(chest):
    image = volumes.from_zyx(chest.ct_zyx, 4.0, (-100.0, 30.0, 500.0))
    with Segmenter(CONFIG, "cpu") as tool:
        return tool.segment(image), tool.segment(image)


@pytest.mark.slow
def test_a_phantom_it_was_not_trained_on_is_segmented_in_place(chest, segmented):
    labels = segmented[0]
    assert labels.shape == chest.ct_zyx.shape
    assert dice(np.isin(labels, ids(*LUNG)), np.isin(chest.labels_zyx, ids(*LUNG))) > 0.85
    right, left = (np.isin(chest.labels_zyx, ids(*(n for n in LUNG if n.endswith(side)))) for side in ("right", "left"))
    labelled_right = np.isin(labels, ids("lung_upper_lobe_right"))
    assert dice(labelled_right, right) > 2 * dice(labelled_right, left)


@pytest.mark.slow
def test_the_kept_model_gives_what_a_fresh_one_gives(chest, segmented, monkeypatch):
    np.testing.assert_array_equal(segmented[0], segmented[1])
    monkeypatch.setattr(segmenter, "SUPPORTED_VERSION", "another")
    with Segmenter(CONFIG, "cpu") as tool:
        fresh = tool.segment(volumes.from_zyx(chest.ct_zyx, 4.0, (-100.0, 30.0, 500.0)))
    np.testing.assert_array_equal(fresh, segmented[0])


def test_the_array_goes_to_nifti_and_back_in_place():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = volumes.from_zyx(array, 2.0, (-5.0, 7.0, 11.0))
    nifti = segmenter._to_nifti(image)
    np.testing.assert_array_equal(segmenter._from_nifti(nifti), array)
    # voxel (x, y, z) = (3, 1, 1) lies at LPS (-5 + 6, 7 + 2, 11 + 2), which is RAS (-1, -9, 13)
    np.testing.assert_allclose(nifti.affine @ (3, 1, 1, 1), (-1, -9, 13, 1))


def test_the_stored_weights_name_all_classes_and_are_small():
    labels = json.loads((demo_weights.STORED / "dataset.json").read_text())["labels"]
    assert sorted(labels, key=labels.get) == ["background", *CLASS_NAMES]
    assert (demo_weights.STORED / "weights.safetensors").stat().st_size < 5_000_000


def test_installing_twice_keeps_the_first(tmp_path):
    demo_weights.install(tmp_path)
    (checkpoint,) = tmp_path.rglob("checkpoint_final.pth")
    stamp = checkpoint.stat().st_mtime_ns
    demo_weights.install(tmp_path)
    assert checkpoint.stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_disk_that_fails_while_installing_is_not_taken_for_another_job(tmp_path, monkeypatch):
    def rename(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(demo_weights.os, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        demo_weights.install(tmp_path)
