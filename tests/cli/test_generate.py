"""`meddiff generate`: pairs, a manifest and nnU-Net's raw format from a folder of label maps, or a line why not."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from meddiff.cli.generate import generate
from meddiff.config import DiffusionConfig, Organ, Region, WindowsConfig
from meddiff.errors import UserError
from meddiff.machine.files import read_json
from meddiff.machine.shards import COLUMNS, DONE
from meddiff.machine.tsv import read_tsv, write_tsv
from meddiff.model.control_bundle import save_control
from meddiff.model.controlnet import ControlNet
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, read_image, to_zyx, write_image
from tests.training import SMALL

TRAINING = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model that has learned nothing, and a bank of one chest."""
    folder = tmp_path_factory.mktemp("generate")
    torch.manual_seed(0)
    model = FoundationModel(UNet(SMALL), DiffusionConfig(prediction="v"), "tiny", 6.0, WindowsConfig())
    model.save(folder / "model", TRAINING | {"validation": {}, "regions_per_dataset": {}})
    labels = np.full((16, 20, 24), 118, np.uint8)
    labels[:, :2], labels[3:13, 6:14, 5:11] = 0, 10
    write_image(from_zyx(labels, 6.0), folder / "bank" / "chest.nii.gz")
    (folder / "few.yaml").write_text(yaml.safe_dump({"sampling": {"steps": 2}, "machine": {"device": "cpu"}}))
    return folder


def run(folder, out, **options):
    places = {"model": str(folder / "model"), "config": folder / "few.yaml"}
    generate(Region.CHEST, out, **({"bank": folder / "bank", "judge": False} | options), **places)


def test_pairs_from_a_folder_of_label_maps(folder, tmp_path):
    run(folder, tmp_path, count=2, nnunet=True)
    first, second = read_tsv(tmp_path / "manifest.tsv")
    assert (first["source"], first["dice"], first["structures"]) == ("chest.nii.gz", "", "0")
    ct, labels = (read_image(tmp_path / first[name]) for name in ("image", "labels"))
    assert (ct.GetSize(), ct.GetSpacing()) == (labels.GetSize(), labels.GetSpacing()) == (ct.GetSize(), (6.0,) * 3)
    assert set(np.unique(to_zyx(labels))) == {0, 10, 118}
    assert -1000 <= to_zyx(ct).min() < to_zyx(ct).max() <= 400
    assert first["seed"] != second["seed"]
    raw = tmp_path / "nnUNet_raw" / "Dataset900_MedDiff"
    assert read_json(raw / "dataset.json")["labels"] == {"background": 0, "lung_upper_lobe_left": 1}


def test_what_is_no_bank_is_said_in_a_line(folder, tmp_path):
    with pytest.raises(UserError, match="give either --bank, a folder of label maps, or --store"):
        run(folder, tmp_path, store=[tmp_path])
    with pytest.raises(UserError, match="no label map in it"):
        run(folder, tmp_path, bank=tmp_path)
    with pytest.raises(UserError, match=r"--store nothere.tsv: no such file; give indices"):
        run(folder, tmp_path, bank=None, store=[Path("nothere.tsv")])
    table = tmp_path / "table.tsv"
    table.write_text("name\tvalue\na\t1\n")
    with pytest.raises(UserError, match=r"table\.tsv: no index of a stage, since it has no column id"):
        run(folder, tmp_path, bank=None, store=[table])
    write_tsv([row("results/data/store/a/meta.json")], COLUMNS, table)
    with pytest.raises(UserError, match=r"results/data/store/a/meta\.json: .* run this in the folder"):
        run(folder, tmp_path, bank=None, store=[table])


def row(path):
    return dict.fromkeys(COLUMNS, "") | {"id": "a", "status": DONE, "path": path, "seconds": "0"}


@pytest.mark.parametrize(
    ("person", "words"),
    [("(", "no regular expression, missing"), ("chest", "no group"), ("(P[0-9])?", "no group that is found in chest")],
)
def test_whose_an_anatomy_is_is_found_or_asked_for(folder, tmp_path, person, words):
    with pytest.raises(UserError, match=rf"^--person .*{words}"):
        run(folder, tmp_path, person=person)


def test_lesions_are_not_drawn_by_a_controlnet_for_thin_slices(folder, tmp_path):
    control = ControlNet.from_unet(FoundationModel.from_pretrained(folder / "model").network)
    facts = TRAINING | {"validation": {}, "regions_per_dataset": {}, "factor": 2}
    save_control(control, folder / "model", "thin", facts, tmp_path / "thin")
    with pytest.raises(UserError, match="a ControlNet for super-resolution; give one for lesions with --control"):
        run(folder, tmp_path, lesions=Organ.LUNG, control=tmp_path / "thin")


def test_that_no_pair_passes_is_an_error_that_says_where_the_reasons_are(folder, tmp_path):
    write_image(from_zyx(np.full((16, 20, 24), 118, np.uint8), 6.0), tmp_path / "bank" / "no-lungs.nii.gz")
    with pytest.raises(UserError, match=r"none of 1 pairs passes; .*index\.tsv has the reasons") as caught:
        run(folder, tmp_path, count=1, bank=tmp_path / "bank")
    assert "--model" in str(caught.value)
    assert "lungs" in read_tsv(tmp_path / "index.tsv")[0]["reason"]
