"""CONTRIBUTING.md: its examples run."""

import re
import runpy

import pytest

from tests.phantom_run import ROOT

SECTIONS = dict(re.findall(r"^## Add an? (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S))


def test_all_that_a_contributor_adds_is_shown():
    assert list(SECTIONS) == ["dataset", "metric", "solver", "task", "stage"]


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_does_what_it_asserts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", SECTIONS[name], re.DOTALL)
    assert "assert" in block
    (tmp_path / "example.py").write_text(block)
    runpy.run_path(str(tmp_path / "example.py"))
