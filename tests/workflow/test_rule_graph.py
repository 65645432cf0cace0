"""The graph of the rules in docs/architecture.md."""

import importlib.util

from tests.phantom_run import ROOT


def test_the_rules_are_drawn_as_they_are():
    spec = importlib.util.spec_from_file_location("rules", ROOT / "docs" / "rules.py")
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    assert rules.drawn() in rules.PAGE.read_text(), "run `python docs/rules.py`"
