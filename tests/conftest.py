"""Fixtures that many tests share: phantoms as arrays and as stored records."""

import os
import signal

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels run on the CPU

from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # workers of pytest share the cores; more threads than cores are far slower

import numpy as np
import pytest
import torch
from hypothesis import settings

from meddiff.anatomy.body import add_body, body_mask
from meddiff.config import Organ, Region, WindowsConfig
from meddiff.demo.phantom import Phantom, make_phantom
from meddiff.store.record import Record, RecordMeta, write_record

SPACING_MM = 6.0
torch.set_num_threads(1)
settings.register_profile("any machine", deadline=None)  # how fast an example runs is none of the promises
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the most slow tests first: workers take them in this order, and wait for one that is last."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def left_as_it_was():
    """Let no test leave behind what later ones would be slow by, or wait for ever.

    A program that a test runs in this process takes threads of its own. A handler of a stop signal is one for all that
    is forked, too, and keeps it from ending.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    torch.set_num_threads(1)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture(scope="session")
def body() -> Phantom:
    return make_phantom(7, SPACING_MM)


@pytest.fixture(scope="session")
def labels_zyx(body: Phantom) -> np.ndarray:
    """The body's labels with the body itself as id 118."""
    return add_body(body.labels_zyx, body_mask(body.ct_zyx, SPACING_MM, -300))


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A stored chest, patch 16."""
    return make_record(tmp_path_factory.mktemp("store") / "phantom_body_chest", seed=3)


def make_record(
    folder: Path,
    seed: int,
    patch_vox: int = 16,
    split: str = "train",
    lesion_zyx: np.ndarray | None = None,
    lesion_organ: Organ | None = None,
) -> Record:
    chest = make_phantom(seed, SPACING_MM, "chest")
    labels = add_body(chest.labels_zyx, body_mask(chest.ct_zyx, SPACING_MM, -300))
    meta = RecordMeta(
        id=folder.name,
        dataset="phantom",
        case=f"body{seed}",
        region=Region.CHEST,
        role="pretraining",
        split=split,
        spacing_mm=SPACING_MM,
        origin_mm=(-10.0, 20.0, 30.0),
        size_zyx=chest.ct_zyx.shape,
        window=WindowsConfig().chest,
        anatomy_weights="demo",
        lesion_organ=lesion_organ,
    )
    write_record(folder, meta, chest.ct_zyx, labels, patch_vox, lesion_zyx)
    return Record(folder)
