"""The documents that are generated from the configuration's model, for people and for the workflow's rules."""

import json
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from meddiff.config import (
    DENOISING_NETWORKS,
    FILTERS,
    ORIGINS,
    SUPER_RESOLVERS,
    TRAINED_DENOISERS,
    Config,
    Section,
)
from meddiff.config.machine import MOVED
from meddiff.config.model import ABLATION
from meddiff.config.schema import config_schema
from meddiff.config.stages import STAGES
from meddiff.datasets import REGISTRY, Dataset
from meddiff.machine.files import write_text

README_HEAD = """# Configuration

`config.yaml` is the demo and the default; `phantom.yaml` runs without any download; `small.yaml` is the model
that comes with the package, at 4 mm; `my-scans.yaml` is for scans of one's own; `paper.yaml` holds the paper's numbers,
`open.yaml` is the same on those of its datasets whose licences let the weights be shared.
A configuration names only what differs from the defaults, and the defaults are the paper's. It replaces `config.yaml`
as a whole, and has an `output_dir` of its own. Choose one with `snakemake --configfile config/paper.yaml`, check one
with `meddiff config config/paper.yaml`.

In brackets stands where a value comes from: a section or equation of the paper, v3 for its third version, or Choice
where the paper is silent.

This page, `paper.yaml`, `open.yaml` and the files in `workflow/schemas/` are generated: `meddiff config --write`.
"""
PAPER_HEAD = """# The paper's numbers, complete; the models follow from `ablation`.
# Generated from meddiff/config/: `meddiff config --write`.
# Before a run, give each dataset the root folder where it lies on your disk.
"""
PAPER_ROOT, PAPER_RESULTS = "/data/ct", "results/paper"
# What v3 of the paper does and the defaults do not, since they are what the package's small model is used with.
V3 = {"super_resolution": {"sigma_n": 1.0, "steps": 100, "keep_slice_means": False}}
OPEN_HEAD = """# The paper's model on those of its datasets whose licences let anybody have the weights (docs/data.md).
# What is not here has the paper's numbers. Generated from meddiff/datasets/: `meddiff config --write`.
# Before a run, give each dataset the root folder where it lies on your disk.
"""
OPEN_RESULTS = "results/open"
GENERATED = "# Generated from meddiff/: `meddiff config --write`.\n"


def write_documents(root: Path) -> None:
    """Write the documents below the repository's root."""
    for name, text in documents().items():
        write_text(text, root / name)


def documents() -> dict[str, str]:
    """Return the text of every document by its path below the repository's root."""
    return {
        "config/README.md": readme(),
        "config/paper.yaml": paper_yaml(),
        "config/open.yaml": open_yaml(),
        "workflow/schemas/config.schema.yaml": GENERATED + _yaml(config_schema()),
        "workflow/schemas/package.yaml": package_yaml(),
    }


def package_yaml() -> str:
    """Return what the rules know of this package beside the configuration's schema."""
    from meddiff.report.all_figures import FIGURES
    from meddiff.report.all_tables import TABLES

    known = REGISTRY.values()
    facts = {
        "origins": ORIGINS,
        "super_resolvers": SUPER_RESOLVERS,
        "filters": FILTERS,
        "denoising_networks": DENOISING_NETWORKS,
        "trained_denoisers": TRAINED_DENOISERS,
        "ablation": [variant.model_dump(mode="json") for variant in ABLATION],
        "moved": MOVED,
        "tables": [{"name": table.name, "number": table.number, "shows": table.shows} for table in TABLES],
        "figures": [figure._asdict() for figure in FIGURES],
        "datasets": {
            "known": [dataset.name for dataset in known],
            "provided": [dataset.name for dataset in known if dataset.provider != "disk"],
            "lesion": [dataset.name for dataset in known if dataset.lesion],
            "thick": [dataset.name for dataset in known if dataset.thick],
        },
        "stages": {name: {"version": stage.version, "reads": stage.keys} for name, stage in STAGES.items()},
    }
    return GENERATED + _yaml(json.loads(json.dumps(facts)))


def readme() -> str:
    """Return the reference of all keys as Markdown."""
    lines = [README_HEAD, "## Top level", "", *_table(Config, top_level=True)]
    for name, field in Config.model_fields.items():
        for section in _sections(field):
            lines += ["", f"## {name}", "", _first_line(section), "", *_table(section)]
            for inner_name, inner in section.model_fields.items():
                for nested in _sections(inner):
                    if inner_name not in ("han", "chest"):  # three windows have the same keys
                        lines += ["", f"### {name}.{inner_name}", "", _first_line(nested), "", *_table(nested)]
    return "\n".join(lines) + "\n"


def paper_yaml() -> str:
    """Return a configuration that spells out every value but `models`, which would outdo `ablation`."""
    datasets = _of_the_paper(REGISTRY.values())
    config = Config.model_validate({"output_dir": PAPER_RESULTS, "data": {"datasets": datasets}, **V3})
    tree = config.model_dump(mode="json", exclude={"models"})
    tree["sampling"] |= config.sampling.recipe(config.diffusion.prediction)._asdict()
    tree["data"]["datasets"] = datasets
    return PAPER_HEAD + _yaml(tree)


def open_yaml() -> str:
    """Return the configuration of a model whose weights may be shared; it names only what differs from the defaults."""
    datasets = _of_the_paper(dataset for dataset in REGISTRY.values() if dataset.weights_may_be_shared)
    return OPEN_HEAD + _yaml({"output_dir": OPEN_RESULTS, "data": {"datasets": datasets}, **V3})


def _of_the_paper(known: Iterable[Dataset]) -> list[dict[str, str]]:
    return [{"name": dataset.name, "root": f"{PAPER_ROOT}/{dataset.name}"} for dataset in known if dataset.cases_paper]


def _yaml(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, width=100)


def _table(section: type[Section], top_level: bool = False) -> list[str]:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        if top_level and _sections(field):
            rows.append(f"| `{name}` | section | | {field.description} |")
        else:
            rows.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {field.description} |")
    return rows


def _sections(field: FieldInfo) -> list[type[Section]]:
    candidates = [field.annotation, *get_args(field.annotation)]
    return [c for c in candidates if isinstance(c, type) and issubclass(c, Section)]


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type(a) for a in get_args(annotation) if a is not type(None))
    if origin is tuple:
        return "list"
    if origin is not None:
        return _type(get_args(annotation)[0])
    names = {"float": "number", "int": "whole number", "str": "text", "Path": "path", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, "section" if isinstance(annotation, type) and issubclass(annotation, Section) else name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, Section):
        return "`" + ", ".join(f"{k}: {v:g}" for k, v in value.model_dump().items() if isinstance(v, float)) + "`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(getattr(v, "name", str(v)) for v in value) + "]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _first_line(section: type[Section]) -> str:
    own = section.__doc__ if section.__doc__ and section.__doc__ != Section.__doc__ else ""
    return own.strip().splitlines()[0] if own else f"See `{section.__name__}` in `meddiff/config/`."
