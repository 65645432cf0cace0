"""Pairs from nothing: each is another one, passes its checks, and is the same when it is made again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from meddiff.anatomy.appearance import Appearance, KnownScans
from meddiff.anatomy.numbering import MaskFile
from meddiff.config import MODEL_REGIONS, AnatomyConfig, Config, Organ, Region, WindowsConfig
from meddiff.errors import UserError
from meddiff.machine.tsv import read_tsv
from meddiff.tasks import pairs
from meddiff.tasks.bank import Source, folder_bank, shipped_bank
from meddiff.tasks.fit import anatomy_misfits
from meddiff.tasks.pairs import Check, Maker, WantedPairs
from meddiff.volumes.volumes import from_zyx, read_image, to_zyx, write_image

BODY, LUNG, HEART = 118, 10, 51
SPACING_MM = 6.0
HU = np.zeros(119)
HU[[0, BODY, LUNG, HEART]] = -1000, 30, -800, 45


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two chests of one person, and one of another."""
    folder = tmp_path_factory.mktemp("bank")
    z, y, x = np.indices((24, 32, 40))
    for number, name in enumerate(("p1-a", "p1-b", "p2-a")):
        labels = np.where(((y - 16) / 14) ** 2 + ((x - 20) / 18) ** 2 < 1, BODY, 0).astype(np.uint8)
        labels[((z - 12) / 9) ** 2 + ((y - 16) / 9) ** 2 + ((x - 11) / (6 + number)) ** 2 < 1] = LUNG
        labels[(z - 12) ** 2 + (y - 16) ** 2 + (x - 27) ** 2 < 25] = HEART
        write_image(from_zyx(labels, SPACING_MM), folder / f"{name}.nii.gz")
    return folder_bank(folder, 2, "(p[0-9]+)-")


@pytest.fixture
def maker(monkeypatch):
    """One whose model draws each structure as it should, with noise; the first attempts of pair 1 lack the heart."""
    attempts = []

    def draw(_sampler, anatomy_zyx, _region, _window, seed, _out):
        attempts.append(seed)
        values = HU.copy()
        if seed in (pairs.seed_from(0, 1, 0), pairs.seed_from(0, 1, 1)):
            values[HEART] = -400
        noise = 10 * np.random.default_rng(seed).normal(size=anatomy_zyx.shape)
        return SimpleNamespace(hu_zyx=(values[anatomy_zyx] + noise).round().astype(np.int16))

    monkeypatch.setattr(pairs, "synthesize", draw)
    model = SimpleNamespace(spacing_mm=SPACING_MM, windows=WindowsConfig(), scans={})
    median = {"body": (30.0,) * 3, "lung_upper_lobe_left": (-800.0,) * 3, "heart": (45.0,) * 3}
    known = {Region.CHEST: KnownScans(3, median, None)}
    sampler = SimpleNamespace(model=model, identity=["a model"])
    made = Maker(sampler, WantedPairs(Region.CHEST, 0), known, None, Config())
    return made, attempts


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.nii.gz"))}


def test_every_pair_is_another_one_and_has_the_hu_of_its_labels(maker, bank, tmp_path):
    rows = maker[0].pairs(bank, 4, tmp_path)
    manifest = read_tsv(tmp_path / "manifest.tsv")
    assert [row["id"] for row in manifest] == [row.id for row in rows] == [f"chest-000{i}" for i in range(4)]
    assert [row["source"] for row in manifest] == ["p1-a.nii.gz", "p1-b.nii.gz", "p2-a.nii.gz", "p1-a.nii.gz"]
    assert len(set(contents(tmp_path).values())) == 8
    for row in manifest:
        ct, labels = (to_zyx(read_image(tmp_path / row[name])) for name in ("image", "labels"))
        assert float(row["least_jacobian"]) > 0
        assert all(abs(np.median(ct[labels == label]) - HU[label]) < 3 for label in (BODY, LUNG, HEART))


def test_all_pairs_of_a_person_are_in_one_split(maker, bank, tmp_path):
    maker[0].pairs(bank, 4, tmp_path)
    splits = {(row["person"], row["split"]) for row in read_tsv(tmp_path / "manifest.tsv")}
    assert len(splits) == 2
    persons = [Source(f"{i}", f"{i}", MaskFile(tmp_path)).split for i in range(200)]
    assert 20 < persons.count("val") < 60


def test_no_state_of_a_drawing_is_left_over(maker, bank, tmp_path, monkeypatch):
    draw = pairs.synthesize

    def draw_and_keep_a_state(*given):
        given[-1].parent.mkdir(parents=True, exist_ok=True)
        given[-1].with_name(f"{given[-1].name}.state.pt").touch()
        return draw(*given)

    monkeypatch.setattr(pairs, "synthesize", draw_and_keep_a_state)
    monkeypatch.setattr(pairs, "ATTEMPTS", 2)
    assert [row.id for row in maker[0].pairs(bank, 2, tmp_path)] == ["chest-0000"]
    assert not list(tmp_path.rglob("*.state.pt"))


def test_what_does_not_pass_is_drawn_again_with_another_seed(maker, bank, tmp_path, caplog):
    made, attempts = maker
    with caplog.at_level("INFO"):
        made.pairs(bank, 2, tmp_path)
    assert "drawing 2 of 3 does not pass: 1 of 3 structures have other HU, such as heart" in caplog.messages
    assert [row["attempts"] for row in read_tsv(tmp_path / "manifest.tsv")] == ["1", "3"]
    assert len(attempts) == len(set(attempts)) == 4


def test_what_never_passes_is_left_out_with_its_reason(maker, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "ATTEMPTS", 2)
    assert [row.id for row in maker[0].pairs(bank, 2, tmp_path)] == ["chest-0000"]
    lost = read_tsv(tmp_path / "index.tsv")[1]
    assert lost["status"] == "quarantined"
    assert "none of 2 drawings passes: 1 of 3 structures have other HU, such as heart" in lost["reason"]


def test_what_does_not_pass_can_be_kept_with_what_is_wrong(maker, bank, tmp_path):
    made, attempts = maker
    replace(made, wanted=WantedPairs(Region.CHEST, 0, anyway=True)).pairs(bank, 2, tmp_path)
    problems = [row["problem"] for row in read_tsv(tmp_path / "manifest.tsv")]
    assert problems == ["", "1 of 3 structures have other HU, such as heart"]
    assert len(attempts) == 2


def test_a_pair_is_made_again_when_what_it_depends_on_changes(maker, bank, tmp_path):
    made, attempts = maker
    made.pairs(bank[:1], 1, tmp_path)
    made.pairs([replace(bank[0], person="another")], 1, tmp_path)
    assert read_tsv(tmp_path / "manifest.tsv")[0]["person"] == "another"
    regions = made.config.regions.model_copy(update={"margin_mm": 40.0})
    replace(made, config=made.config.model_copy(update={"regions": regions})).pairs(bank[:1], 1, tmp_path)
    assert len(attempts) == 3
    other_numbers = replace(bank[0], of=MaskFile(bank[0].path, 1))
    assert made.pairs([other_numbers], 1, tmp_path) == []  # by which there are no lungs


def test_an_anatomy_that_the_model_does_not_know_is_left_out(maker, bank, tmp_path):
    made, _ = maker
    made.sampler.model.scans = {Region.ABDOMEN: KnownScans(1, {}, None)}
    assert made.pairs(bank, 1, tmp_path) == []
    assert "p1-a.nii.gz: no chest was in the model's training" in read_tsv(tmp_path / "index.tsv")[0]["reason"]


def test_the_same_command_goes_on_and_more_pairs_change_none(maker, bank, tmp_path):
    made, attempts = maker
    made.pairs(bank, 3, tmp_path / "a")
    made.pairs(bank, 1, tmp_path / "b")
    attempts.clear()
    made.pairs(bank, 3, tmp_path / "b")
    assert len(attempts) == 4  # of the second pair three, of the third one
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (tmp_path / "b" / "images" / "chest-0002.nii.gz").unlink()
    made.pairs(bank, 3, tmp_path / "b")
    assert len(attempts) == 5
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_lesion_lies_in_its_organ_and_the_model_is_told_of_body_there(maker, bank, tmp_path, monkeypatch):
    shown = []

    def draw(_sampler, view, _seed, _name):
        shown.extend(np.unique(view.anatomy_zyx[view.lesion_zyx]))
        return np.where(view.lesion_zyx, 40, HU[view.anatomy_zyx])

    monkeypatch.setattr(pairs, "generate", draw)
    made = replace(maker[0], wanted=WantedPairs(Region.CHEST, 0, Organ.LUNG, 40.0))
    made.pairs(bank, 1, tmp_path)
    (row,) = read_tsv(tmp_path / "manifest.tsv")
    lesion, labels = (to_zyx(read_image(tmp_path / row[name])) for name in ("lesion", "labels"))
    assert np.isin(labels[lesion > 0], (LUNG,)).mean() > 0.9
    assert lesion.sum() * SPACING_MM**3 == pytest.approx(np.pi / 6 * 40**3, rel=0.5)
    assert shown == [BODY]


def demo_weights():
    return Config(anatomy=AnatomyConfig(weights="demo", resolution="fastest"))


def test_the_judge_must_find_the_organs_where_they_should_be(maker, bank):
    labels_zyx = to_zyx(read_image(bank[0].path))
    ct = from_zyx(HU[labels_zyx].astype(np.int16), SPACING_MM)
    found = replace(maker[0], judge=lambda _: labels_zyx).check(ct, labels_zyx)
    assert (found.dice, found.problem, found.structures) == (1.0, None, 3)
    shifted = replace(maker[0], judge=lambda _: np.roll(labels_zyx, 6, axis=2)).check(ct, labels_zyx)
    assert "with what TotalSegmentator finds in it" in (shifted.problem or "")
    assert replace(maker[0], config=demo_weights()).check(ct, labels_zyx).least_dice < found.least_dice


def test_a_fifth_of_the_structures_may_have_other_hu():
    assert Check(10, ["heart", "aorta"]).problem is None
    assert Check(9, ["heart", "aorta"]).problem is not None


def test_a_ct_with_the_noise_of_no_training_is_no_pair(maker, bank):
    labels_zyx = to_zyx(read_image(bank[0].path))
    noisy = HU[labels_zyx] + 40 * np.random.default_rng(0).normal(size=labels_zyx.shape)
    median = maker[0].known[Region.CHEST].median_hu
    made = replace(maker[0], known={Region.CHEST: KnownScans(3, median, (8.0, 10.0, 12.0))})
    problem = made.check(from_zyx(noisy.round().astype(np.int16), SPACING_MM), labels_zyx).problem
    assert "HU, and 8 to 12 HU in the training" in (problem or "")


@pytest.mark.parametrize("region", MODEL_REGIONS)
def test_anatomies_of_every_region_come_with_the_package(region):
    sources = shipped_bank(region)
    assert sources
    for source in sources:
        labels = source.labels(region, 6.0, Config().regions)
        assert not [misfit.text for misfit in anatomy_misfits(to_zyx(labels), region, {}) if misfit.spoils]


def test_a_name_without_a_person_is_refused(bank):
    with pytest.raises(UserError, match=r"has no group that is found in p1-a\.nii\.gz"):
        folder_bank(bank[0].path.parent, 2, "(patient)")


def test_the_hu_of_the_fixture_are_those_of_an_appearance(bank):
    labels_zyx = to_zyx(read_image(bank[0].path))
    look = Appearance.of(HU[labels_zyx].astype(np.int16), labels_zyx, SPACING_MM, WindowsConfig().chest)
    assert look.median_hu == {"lung_upper_lobe_left": -800, "heart": 45, "body": 30}
