"""The benchmarks, which no test runs: what they take from the package is there."""

import ast
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.phantom_run import ROOT


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(script):
    wanted = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in wanted:
        if node.module and node.module.startswith("meddiff"):
            module = import_module(node.module)
            missing = [name.name for name in node.names if not hasattr(module, name.name)]
            assert not [name for name in missing if find_spec(f"{node.module}.{name}") is None]
