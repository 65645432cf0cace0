"""What the standard asks of a DICOM object, by the tables that highdicom has of it."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

TABLES = files("highdicom") / "_standard"


def lacking(tags: Any) -> set[str]:
    """Return the attributes of type 1 that an object lacks or leaves empty, and those of type 2 that it lacks.

    Asked are those of the mandatory modules of its kind, at the top level.
    """
    kind = _table("sop_class_iod_map")[tags.SOPClassUID]
    modules = [module["key"] for module in _table("iod_module_map")[kind] if module["usage"] == "M"]
    attributes = [item for module in modules for item in _table("module_attribute_map")[module] if not item["path"]]
    missing = {item["keyword"] for item in attributes if item["type"] in "12" and item["keyword"] not in tags}
    empty = {item["keyword"] for item in attributes if item["type"] == "1" and tags.get(item["keyword"]) in (None, "")}
    return missing | empty


@cache
def _table(name: str) -> dict:
    return json.loads((TABLES / f"{name}.json").read_text())
