"""A Snakemake beside which nothing is installed but what it brings itself."""

import os
import re
import sys
from importlib import metadata

BLOCK = """
import sys

ABSENT = {absent!r}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *more):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, *more)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def bare_environment(folder):
    """Return the variables under which Python finds nothing but Snakemake, its plugins and what they depend on."""
    allowed = _closure([*(name for name in _installed() if name.startswith("snakemake")), "pygments"])  # for --report
    named = metadata.packages_distributions()
    absent = {module for module, names in named.items() if not {_plain(name) for name in names} & allowed}
    absent = sorted((absent | {"meddiff", "tests"}) - sys.stdlib_module_names)
    (folder / "sitecustomize.py").write_text(BLOCK.format(absent=absent))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # few have it
    return kept | {"PYTHONPATH": str(folder), "COLUMNS": "200"}


def _closure(names):
    found, left = set(), list(names)
    while left:
        name = _plain(left.pop())
        if name not in found and name in _installed():
            found.add(name)
            left += [re.split(r"[^\w.-]", need)[0] for need in metadata.requires(name) or () if "extra ==" not in need]
    return found


def _installed():
    return {_plain(each.metadata["Name"]) for each in metadata.distributions()}


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()
