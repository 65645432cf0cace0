"""`meddiff weights` and the rule's `meddiff stage anatomy_weights`."""

import json

from typer.testing import CliRunner

from meddiff.anatomy import demo_weights, official_weights
from meddiff.cli.main import app
from meddiff.config import load_config
from meddiff.machine.files import sha256, write_json
from meddiff.metrics import medicalnet_weights


def invoke(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_everything_that_an_offline_machine_needs_is_brought_and_what_to_set_is_said(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(official_weights, "fetch", lambda *given: asked.append(given))
    monkeypatch.setattr(medicalnet_weights, "provide", lambda *given: asked.append(given))
    output = invoke("weights", "--to", tmp_path)
    (anatomy, segmenter), network = asked
    assert (anatomy.resolution, segmenter) == ("full", tmp_path / "totalsegmentator")
    assert network == ("resnet50", tmp_path / "medicalnet")
    assert f"export MEDDIFF_CACHE={tmp_path}" in output


def test_what_the_configuration_does_not_use_is_not_brought(monkeypatch):
    for module, name in ((official_weights, "fetch"), (medicalnet_weights, "provide")):
        monkeypatch.setattr(module, name, lambda *_: 1 / 0)
    assert invoke("weights", "--config", "config/phantom.yaml") == ""


def test_the_rule_writes_what_the_weights_are(tmp_path, monkeypatch):
    out, file = tmp_path / "source.json", tmp_path / "config.yaml"
    write_json({"anatomy": {"weights": "demo", "resolution": "fastest"}}, file)
    invoke("stage", "anatomy_weights", "--config", file, "--out", out)
    stored = sha256(demo_weights.STORED / "weights.safetensors")
    assert json.loads(out.read_text()) == {"weights": "demo", "sha256": {demo_weights.DATASET: stored}}

    write_json({"anatomy": {"resolution": "fastest"}}, file)
    official = load_config(file)
    (model,) = official_weights.models(official.anatomy)
    demo_weights.install(tmp_path / "official")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "official"))
    invoke("stage", "anatomy_weights", "--config", file, "--out", out)
    digest = sha256(model.checkpoint(tmp_path / "official"))
    assert json.loads(out.read_text()) == {"weights": "official", "sha256": {model.name: digest}}
