"""`meddiff doctor`: what is missing has its mend, and the network is left alone."""

import json
import socket

import pytest
from typer.testing import CliRunner

from meddiff.api.checkup import checkup
from meddiff.cli.main import app


@pytest.fixture
def findings(monkeypatch, tmp_path):
    """Look in an empty folder with an empty cache, without any network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr("meddiff.weights.shipped_names", list)
    return {finding.name: finding for finding in checkup()}


def test_what_is_missing_names_the_option_or_the_command_that_mends_it(findings):
    assert "--model" in findings["weights of meddiff-fm"].mend
    assert "--control" in findings["weights of lesions"].mend
    assert "meddiff weights" in findings["weights of TotalSegmentator"].mend
    assert "network" not in findings


def test_an_extra_that_is_not_installed_names_the_command(monkeypatch):
    monkeypatch.setattr("meddiff.api.checkup.find_spec", lambda name: None if name == "snakemake" else name)
    found = {finding.name: finding for finding in checkup()}
    assert found["extra pipeline"].found == "lacks snakemake"
    assert "pip install 'meddiff-fm[pipeline]'" in found["extra pipeline"].mend
    assert not found["extra anatomy"].mend


def test_the_verb_prints_it_for_people_and_for_programs(findings):
    plain, as_json = (CliRunner().invoke(app, ["doctor", *flags]) for flags in ([], ["--json"]))
    assert "-> meddiff-fm: no model of this name comes with this installation" in plain.output
    assert [each["name"] for each in json.loads(as_json.output)] == list(findings)
