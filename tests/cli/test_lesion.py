"""`meddiff lesion`: no CT without the mask of its lesion."""

from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.volumes.volumes import from_zyx

MADE = from_zyx(np.zeros((2, 3, 4), np.int16), 1.0), from_zyx(np.ones((2, 3, 4), np.uint8), 1.0)
VERBS = {"inpaint": ["inpaint", "ct.nii.gz"], "generate": ["generate", "--anatomy", "anatomy.nii.gz"]}


@pytest.mark.parametrize("verb", VERBS)
def test_the_mask_comes_before_the_ct(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    model = SimpleNamespace(name="tiny", inpaint=lambda *_: MADE, generate_lesion=lambda *_: MADE)
    monkeypatch.setattr("meddiff.cli.lesion.open_model", lambda *_, **__: model)
    written = []
    monkeypatch.setattr("meddiff.volumes.volumes.write_image", lambda _, path: written.append(path.name))
    options = ["--region", "chest", "--organ", "lung", "-o", "out.nii.gz", "--mask-out", "mask.nii.gz"]
    done = CliRunner().invoke(app, ["lesion", *VERBS[verb], *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert written == ["mask.nii.gz", "out.nii.gz"]
