"""The crop store under many processes, with replaced files and at scale."""

import multiprocessing
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from meddiff.config import LevelWeights
from meddiff.store.patches import LEVELS, PatchDataset, collate
from meddiff.store.record import Record, write_record

from ..conftest import make_record

PATCH = 16


@pytest.fixture(scope="module")
def data(record):
    """Samples at the three levels of a record that has been read before in this process."""
    samples = PatchDataset([record] * 3, LevelWeights(), PATCH, 0, 24)
    assert {LEVELS[samples[number].level] for number in range(24)} == set(LEVELS)
    return samples


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 2), ("fork", 12)])
def test_other_processes_read_the_same_samples(data, method, workers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than cores, on purpose
        loader = DataLoader(data, batch_size=4, num_workers=workers, collate_fn=collate, multiprocessing_context=method)
        images = torch.cat([batch.image for batch in loader])
    assert torch.equal(images, torch.stack([data[number].image for number in range(24)]))


def read(record, corner):
    return record.ct[tuple(slice(c, c + PATCH) for c in corner)].tobytes()


def test_many_processes_read_one_file_at_the_same_time(record):
    corners = [(z, y, x) for z in (0, 9, 30) for y in (0, 17) for x in (3, 40)] * 4
    expected = [read(record, corner) for corner in corners]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.starmap(read, [(record, corner) for corner in corners], chunksize=1) == expected


def test_a_reader_of_a_file_that_is_replaced_sees_the_old_one_to_its_end_and_then_the_new_one(record, tmp_path):
    folder = tmp_path / "region"
    shutil.copytree(record.folder, folder)
    other = make_record(tmp_path / "other", seed=11)
    reader = Record(folder)
    opened, old = reader.ct, record.ct[:]
    first = opened[:8]
    write_record(folder, other.meta, other.ct[:], other.anatomy[:], PATCH)
    np.testing.assert_array_equal(np.concatenate([first, opened[8:]]), old)
    np.testing.assert_array_equal(reader.ct[:], other.ct[:])
    assert not np.array_equal(old, other.ct[:])


def test_reading_many_records_keeps_no_file_open_and_the_data_set_can_be_pickled(record):
    before = len(os.listdir("/proc/self/fd"))
    many = PatchDataset([record] * 500, LevelWeights(), PATCH, 0, 500)
    for number in range(60):
        many[number]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert len(pickle.dumps(many))


def test_a_record_is_written_with_the_same_bytes_each_time(record, tmp_path):
    for name in ("first", "second"):
        write_record(tmp_path / name, record.meta, record.ct[:], record.anatomy[:], PATCH, record.anatomy[:] > 3)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_leftovers_of_a_killed_writer_are_removed(record, tmp_path):
    shutil.copytree(record.folder, tmp_path / "region")
    (tmp_path / "region" / ".tmp-99-ct.b2nd").write_bytes(b"half")
    write_record(tmp_path / "region", record.meta, record.ct[:], record.anatomy[:], PATCH)
    assert not list((tmp_path / "region").glob(".tmp-*"))


def test_the_meta_of_a_record_changes_with_its_arrays_alone(record, tmp_path):
    """A training is named by the checksums of the metas of its regions."""
    ct, anatomy = record.ct[:], record.anatomy[:]
    other = anatomy.copy()
    other[tuple(n // 2 for n in other.shape)] += 1
    lesion = (anatomy == anatomy.max()).astype(np.uint8)
    given = {"same": (ct, anatomy), "labels": (ct, other), "hu": (ct + 1, anatomy), "lesion": (ct, anatomy)}
    found = {
        name: write_record(
            tmp_path / name, record.meta, *arrays, PATCH, lesion if name == "lesion" else None
        ).read_text()
        for name, arrays in given.items()
    }
    assert found["same"] == (record.folder / "meta.json").read_text()
    assert len(set(found.values())) == 4
