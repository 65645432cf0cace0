"""The sub-packages: imports go one way, and the documents name them all."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "meddiff"
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)


def imported_packages(module):
    """Give the first part of everything of the package that a module imports, at its top or in a function."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "meddiff":
            path = (node.module or "").split(".")[1:]
            yield from path[:1] or [alias.name for alias in node.names]


def test_the_document_names_every_sub_package():
    assert sorted(PACKAGES) == sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("name", PACKAGES)
def test_imports_go_to_packages_above_only(name):
    below = set(PACKAGES[PACKAGES.index(name) + 1 :])
    found = {
        (str(module.relative_to(PACKAGE)), imported)
        for module in (PACKAGE / name).rglob("*.py")
        for imported in imported_packages(module)
        if imported in below
    }
    assert not found


def test_every_sub_package_says_what_it_is_for():
    assert all(ast.get_docstring(ast.parse(init.read_text())) for init in PACKAGE.rglob("__init__.py"))


def test_files_that_the_document_names_exist():
    named = re.findall(r"`((?:meddiff|config|docs)/[\w/]+\.(?:py|md|yaml))`", DOCUMENT)
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / path).exists()]
