"""`meddiff phantoms`: what cannot be made is said in a line."""

import pytest
from typer.testing import CliRunner

from meddiff.cli.main import app


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--spacing-mm", "0"], "--spacing-mm"),
        (["--spacing-mm", "inf"], "--spacing-mm"),
        (["--seed", "-5"], "--seed"),
    ],
)
def test_numbers_of_which_no_phantom_can_be_made_are_refused(tmp_path, flags, words):
    done = CliRunner().invoke(app, ["phantoms", "--out", str(tmp_path), *flags])
    assert done.exit_code == 2
    assert f"Invalid value for '{words}'" in done.output


def test_a_phantom_without_lungs_has_no_lesions_in_them(tmp_path):
    flags = ["--extent", "han", "--spacing-mm", "12", "--lesions"]
    done = CliRunner().invoke(app, ["phantoms", "--out", str(tmp_path), *flags])
    assert str(done.exception).startswith("--lesions: no lung_")
