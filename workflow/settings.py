"""What the rules need of the configuration, read with nothing but what Snakemake brings.

They are read where the package may not be installed, and whole workflows are read in seconds. So types, bounds and
defaults are taken from `schemas/config.schema.yaml`, and what else the rules know of the package from
`schemas/package.yaml`; the package writes both (`meddiff config --write`). What a schema cannot say, such as values
that contradict each other, the first job finds.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

YES, NO = ("1", "on", "t", "true", "y", "yes"), ("0", "off", "f", "false", "n", "no")


class Settings:
    """A configuration with its defaults, and what follows from it for the rules.

    Args:
        given: the configuration's plain values, as a person gave them.
        schemas: the folder's two files as text, the configuration's schema and what is known of the package.

    Raises:
        ValueError: a line per mistake, with the key and the value.
    """

    def __init__(self, given: dict[str, Any], schema: str, package: str) -> None:
        self.given = yaml.safe_dump(given, sort_keys=False)
        self.schema, self.package = _read(schema), _read(package)
        self.tree = filled(_spelled_out(given, self.package["ablation"]), self.schema)
        if found := list(mistakes(self.tree, self.schema, self.package["moved"])):
            raise ValueError("\n".join(found))
        self.models = [model["name"] for model in self.tree["models"]]
        self.reads = cache(self._reads)
        self.write = cache(self._write)

    def _reads(self, stage: str, one: str | None = None) -> str:
        """Return canonical JSON of the values that a stage reads; with `one`, of models or denoisers that one alone."""
        tree: dict[str, Any] = {"version": self.package["stages"][stage]["version"]}
        for key in self.package["stages"][stage]["reads"]:
            section, _, name = key.partition(".")
            if name:
                tree.setdefault(section, {})[name] = self.tree[section][name]
            else:
                tree[section] = self.tree[section]
        if one and "models" in tree:
            tree["models"] = [each for each in tree["models"] if each["name"] == one]
        if one in self.package["trained_denoisers"]:
            for other in {*self.package["trained_denoisers"]} - {one}:
                tree.pop(other.replace("-", "_"), None)
        return json.dumps(tree, sort_keys=True, separators=(",", ":"))

    def _write(self, folder: Path) -> str:
        """Write the configuration, as it was given, to a file that is named by its content, and return its path."""
        path = folder / f"config-{hashlib.sha256(self.given.encode()).hexdigest()[:12]}.yaml"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{os.getpid()}-{path.name}"
            temporary.write_text(self.given, encoding="utf-8")
            temporary.replace(path)
        return str(path)

    def datasets(self, fact: str) -> list[dict[str, Any]]:
        """Return the datasets that are `provided`, or have `lesion` labels or `thick` slices."""
        return [d for d in self.tree["data"]["datasets"] if d.get(fact) or d["name"] in self.package["datasets"][fact]]


def check_keys(files: Iterable[str | Path], loader: type[yaml.SafeLoader]) -> None:
    """Raise ValueError for a file that the loader refuses."""
    for path in map(Path, files):
        try:
            loader(path.read_bytes()).get_single_data()
        except yaml.MarkedYAMLError as error:
            raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from None


def check_place(settings: Settings) -> None:
    """Keep a run from replacing the results of another one, and from taking a folder that nobody has chosen.

    Raises:
        ValueError: there is no dataset; or the folder of results holds those of other datasets alone; or nobody has
            named it, and none of the run's own datasets has results there yet.
    """
    datasets, out = {dataset["name"] for dataset in settings.tree["data"]["datasets"]}, settings.tree["output_dir"]
    if not datasets:
        raise ValueError("data.datasets names none; config/my-scans.yaml shows how")
    there = _indexed(Path(out) / "data" / "manifest.tsv")
    if there and not there & datasets:
        raise ValueError(
            f"output_dir: {out} holds the results of {', '.join(sorted(there))}, which this configuration does not "
            "name; give this run a folder of its own"
        )
    own = sorted(datasets - set(settings.package["datasets"]["known"]))
    if own and not there and "output_dir" not in yaml.safe_load(settings.given):
        raise ValueError(
            f"output_dir is not given, and {own[0]} is a dataset of your own; say where its results shall go, as "
            "config/my-scans.yaml does"
        )


def _indexed(manifest: Path) -> set[str]:
    """Return the datasets of a manifest, none where there is no manifest."""
    if not manifest.exists():
        return set()
    with manifest.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {row["dataset"] for row in csv.DictReader(file, delimiter="\t")}


def filled(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value with the schema's defaults and in its types, as the package takes it; the rest stays as it is.

    Numbers may come as text: `1e-4` in YAML, everything on the command line.
    """
    kinds = schema.get("type", ())
    if isinstance(value, dict) and "properties" in schema:
        parts = {name: part for name, part in schema["properties"].items() if name in value or _has_default(part)}
        return value | {name: filled(value.get(name, _default(part)), part) for name, part in parts.items()}
    if isinstance(value, list) and "items" in schema:
        return [filled(each, schema["items"]) for each in value]
    if isinstance(value, list) and "prefixItems" in schema:
        return [filled(each, part) for each, part in zip(value, schema["prefixItems"], strict=False)]
    if "string" in kinds:
        return str(Path(value)) if schema.get("format") == "path" and isinstance(value, str) else value
    if "boolean" in kinds:
        return {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}.get(str(value).lower(), value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return float(value) if "number" in kinds else int(value) if isinstance(value, str) else value
    except ValueError:
        return value


def mistakes(tree: dict[str, Any], schema: dict[str, Any], moved: dict[str, str]) -> Iterator[str]:
    """Yield a line for everything in a configuration that its schema does not allow; `moved` are keys of before."""
    known = list(_keys(schema))
    for error in Draft202012Validator(schema).iter_errors(tree):
        place = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            yield from _unknown(error, place, known, moved)
        else:
            yield f"{place}: {error.message}" if place else error.message


def _unknown(error: ValidationError, place: str, known: list[str], moved: dict[str, str]) -> Iterator[str]:
    here = error.schema["properties"]
    for name in (name for name in error.instance if name not in here):
        key = f"{place}.{name}" if place else name
        of_machine = moved.get(key, f"machine.{name}")  # a section that was parts of others
        close = [of_machine] if of_machine in known else get_close_matches(key, known, n=1)
        mend = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(here)}"
        yield f"unknown key {key} (value {error.instance[name]!r}); {mend}"


def _keys(schema: dict[str, Any], place: str = "") -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        yield place + name
        yield from _keys(part, f"{place}{name}.")


def _spelled_out(given: dict[str, Any], ablation: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a configuration in which no key stands in the place of another one."""
    tree = {"models": ablation} | given if given.get("ablation") == "full" else dict(given)
    training = tree.get("training")
    if isinstance(training, dict) and training.get("steps") is not None:
        tree["training"] = {"epochs": None} | training
    return tree


def _has_default(schema: dict[str, Any]) -> bool:
    return "default" in schema or "properties" in schema


def _default(schema: dict[str, Any]) -> Any:
    return schema.get("default", {})


def _read(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
