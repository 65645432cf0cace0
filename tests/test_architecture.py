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


def test_no_function_takes_more_than_six_arguments():
    """But verbs, whose arguments are what a user may say, and kernels, which are given every pointer and constant."""
    too_many = []
    for module in {*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("cli/**/*.py")}:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef) and "triton.jit" not in map(ast.unparse, node.decorator_list):
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                names = [argument.arg for argument in given if argument.arg not in ("self", "cls", "ctx")]
                too_many += [f"{module.relative_to(PACKAGE)}: {node.name}"] if len(names) > 6 else []
    assert not too_many


def test_no_module_has_more_than_300_lines_and_no_sub_package_more_than_a_tenth_of_all():
    lines = {module: len(module.read_text().splitlines()) for module in PACKAGE.rglob("*.py")}
    assert not [str(module.relative_to(PACKAGE)) for module, count in lines.items() if count > 300]
    shares = {name: sum(lines[m] for m in (PACKAGE / name).rglob("*.py")) / sum(lines.values()) for name in PACKAGES}
    assert not {name: share for name, share in shares.items() if share > 0.1}


def test_every_sub_package_says_what_it_is_for():
    assert all(ast.get_docstring(ast.parse(init.read_text())) for init in PACKAGE.rglob("__init__.py"))


def test_files_that_the_document_names_exist():
    named = re.findall(r"`((?:meddiff|config|docs)/[\w/]+\.(?:py|md|yaml))`", DOCUMENT)
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / path).exists()]
