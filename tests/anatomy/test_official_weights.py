"""TotalSegmentator's weights come once and whole; the demo weights stand in for them, served on this machine."""

import io
import os
import shutil
import threading
import zipfile

import numpy as np
import pytest

from meddiff.anatomy import demo_weights, official_weights
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import AnatomyConfig
from meddiff.datasets import download
from meddiff.demo.phantom import make_phantom
from meddiff.errors import UserError
from meddiff.machine.shards import Item, run_shard
from meddiff.volumes import volumes
from tests.datasets.test_download import Server, server, zip_of  # noqa: F401

CONFIG = AnatomyConfig(resolution="fastest")
(MODEL,) = official_weights.models(CONFIG)


def archive_of(folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a model as TotalSegmentator publishes it."""
    folder = tmp_path_factory.mktemp("published")
    demo_weights.install(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and an empty home of TotalSegmentator."""
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "totalsegmentator"


@pytest.fixture
def releases(server, published, cache, monkeypatch) -> Server:  # noqa: F811
    server.content = archive_of(published)
    monkeypatch.setattr(official_weights, "RELEASES", server.url)
    monkeypatch.setattr(official_weights, "PATIENCE", download.Patience(breaks=0, wait_seconds=0))
    return server


@pytest.fixture
def unreachable(cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(official_weights, "RELEASES", "http://127.0.0.1:9")
    monkeypatch.setattr(official_weights, "PATIENCE", download.Patience(breaks=0, wait_seconds=0))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".meddiff-weights.lock")


def test_the_models_are_totalsegmentators_own():
    full = official_weights.models(AnatomyConfig(resolution="full"))
    assert [model.name[:10] for model in full] == [f"Dataset{number}" for number in (291, 292, 293, 294, 295)]
    fast, fastest = (official_weights.models(AnatomyConfig(resolution=name))[0] for name in ("fast", "fastest"))
    assert (fast.name[:10], fastest.name[:10]) == ("Dataset297", "Dataset298")
    assert full[0].url == (
        "https://github.com/wasserth/TotalSegmentator/releases/download/v2.0.0-weights/"
        "Dataset291_TotalSegmentator_part1_organs_1559subj.zip"
    )


def test_they_are_fetched_once_and_found_from_then_on(releases, cache):
    assert official_weights.fetch(CONFIG) == cache
    assert official_weights.fetch(CONFIG) == official_weights.find(CONFIG) == cache
    assert len(releases.ranges) == 1
    assert names_in(cache) == [MODEL.name]


def test_jobs_at_the_same_time_download_once(releases, cache):
    found = []
    jobs = [threading.Thread(target=lambda: found.append(official_weights.fetch(CONFIG))) for _ in range(8)]
    _ = [job.start() for job in jobs], [job.join(60) for job in jobs]
    assert found == [cache] * 8
    assert len(releases.ranges) == 1


@pytest.mark.parametrize("half", ["truncated", "without checkpoint", "empty"])
def test_what_a_killed_download_left_is_no_model_and_is_replaced(releases, published, cache, half):
    shutil.copytree(published / MODEL.name, cache / MODEL.name)
    checkpoint = MODEL.checkpoint(cache)
    if half == "truncated":
        os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    elif half == "without checkpoint":
        checkpoint.unlink()
    else:
        shutil.rmtree(cache / MODEL.name)
        (cache / MODEL.name).mkdir()
    with pytest.raises(UserError, match="Dataset298 missing or incomplete"):
        official_weights.find(CONFIG)
    official_weights.fetch(CONFIG)
    assert MODEL.checkpoint(official_weights.find(CONFIG)).read_bytes() == MODEL.checkpoint(published).read_bytes()


def test_a_fetch_that_is_killed_while_unpacking_leaves_no_model(releases, cache, monkeypatch):
    class Killed(BaseException):
        pass

    def die(archive, out):
        (out / MODEL.name).mkdir(parents=True)
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(download, "unpack", die)
        context.setattr(official_weights.shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
        with pytest.raises(Killed):
            official_weights.fetch(CONFIG)
    assert MODEL.name not in names_in(cache)
    with pytest.raises(UserError, match="missing or incomplete"):
        official_weights.find(CONFIG)
    official_weights.fetch(CONFIG)
    assert names_in(cache) == [MODEL.name]


def test_a_download_that_broke_goes_on(releases, cache):
    releases.breaks = [len(releases.content) // 2]
    with pytest.raises(UserError, match="there is no network"):
        official_weights.fetch(CONFIG)
    official_weights.fetch(CONFIG)
    assert int(releases.ranges[1][len("bytes=") : -1]) > 0
    assert names_in(cache) == [MODEL.name]


def test_another_archive_is_refused_and_leaves_nothing(releases, cache):
    releases.content = zip_of({"readme.txt": "moved"})
    with pytest.raises(UserError, match="not the weights that TotalSegmentator expects"):
        official_weights.fetch(CONFIG)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.name != ".meddiff-weights.lock"]


def test_without_network_one_line_says_what_is_missing_and_which_command_brings_it(unreachable, cache):
    with pytest.raises(UserError) as caught:
        official_weights.fetch(AnatomyConfig(resolution="full"))
    assert str(caught.value) == (
        "anatomy.weights official: TotalSegmentator's Dataset291, Dataset292, Dataset293, Dataset294, Dataset295 "
        f"missing or incomplete in {cache}, and there is no network; where there is one run `meddiff weights --to DIR` "
        "and set MEDDIFF_CACHE=DIR here"
    )


def test_a_folder_for_an_offline_machine_is_found_there(releases, tmp_path, monkeypatch):
    official_weights.fetch(CONFIG, tmp_path / "carried" / "totalsegmentator")
    with pytest.raises(UserError):
        official_weights.find(CONFIG)
    monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path / "carried"))
    assert official_weights.find(CONFIG) == tmp_path / "carried" / "totalsegmentator"


def test_weights_that_totalsegmentator_has_fetched_before_are_used(cache, published, tmp_path, monkeypatch):
    shutil.copytree(published / MODEL.name, tmp_path / "home" / "nnunet" / "results" / MODEL.name)
    assert official_weights.fetch(CONFIG) == tmp_path / "home" / "nnunet" / "results"
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(published))
    assert official_weights.fetch(CONFIG) == published


def test_a_carried_folder_is_found_whatever_totalsegmentator_is_told(releases, cache, tmp_path, monkeypatch):
    official_weights.fetch(CONFIG, cache)
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "empty"))
    assert official_weights.find(CONFIG) == cache


def test_a_job_that_segments_fetches_nothing_and_says_what_is_missing(releases):
    with pytest.raises(UserError, match="run `meddiff weights`"), Segmenter(CONFIG, "cpu"):
        pass
    assert releases.ranges == []


@pytest.fixture
def chest():
    return volumes.from_zyx(make_phantom(50, 8.0, "chest").ct_zyx, 8.0)


@pytest.mark.slow
def test_the_fetched_weights_segment_as_the_published_ones(releases, chest):
    official_weights.fetch(CONFIG)
    before = dict(os.environ)
    with Segmenter(CONFIG, "cpu") as fetched:
        labels_zyx = fetched.segment(chest)
    assert {name: os.environ.get(name) for name in before if name.startswith("TOTALSEG")} == {
        name: value for name, value in before.items() if name.startswith("TOTALSEG")
    }
    with Segmenter(AnatomyConfig(weights="demo", resolution="fastest"), "cpu") as demo:
        np.testing.assert_array_equal(labels_zyx, demo.segment(chest))


@pytest.mark.parametrize("fault", ["gone", "damaged"])
def test_weights_that_fail_a_running_job_end_it_and_quarantine_nothing(releases, cache, chest, tmp_path, fault):
    official_weights.fetch(CONFIG)

    def work(item):
        if fault == "gone":
            shutil.rmtree(cache / MODEL.name)
        else:
            MODEL.checkpoint(cache).write_bytes(zip_of({"archive/data.pkl": "no tensor"}))
        segmenter.segment(chest)

    items = [Item("case", (), tmp_path / "case.nii.gz")]
    words = "missing or incomplete" if fault == "gone" else "cannot be loaded .*; delete this folder"
    with Segmenter(CONFIG, "cpu") as segmenter, pytest.raises(UserError, match=words):
        run_shard("anatomy", items, {}, work, tmp_path / "shard-000.tsv")
    assert not (tmp_path / "shard-000.tsv").exists()
