"""The configuration as a JSON schema: what the workflow's rules need of it where this package is not installed."""

from typing import Any

from meddiff.config.tree import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FIRST = ("$schema", "type", "description", "default")
NULL = {"type": "null"}


def config_schema() -> dict[str, Any]:
    """Return the schema of `Config`: every key with type, meaning, bounds and default, and no references.

    A section that is left out is one without keys, unless it has a default of its own.
    """
    raw = Config.model_json_schema()
    tree = _inlined(raw, raw.pop("$defs"))
    return _in_order(tree | {"$schema": DIALECT, "description": "Configuration of MedDiff-FM."})


def defaults(schema: dict[str, Any]) -> Any:
    """Return what a key or a section has where nothing is given."""
    if "default" in schema or "properties" not in schema:
        return schema.get("default")
    return {name: defaults(part) for name, part in schema["properties"].items()}


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its references replaced by what they name, and `null` as one of a key's types."""
    own = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "title")}
    choices = schema.get("anyOf", [schema] if "$ref" in schema else [])
    for choice in choices:
        if "$ref" in choice:
            own = _inlined(definitions[choice["$ref"].rpartition("/")[2]], definitions) | own
        elif choice != NULL:
            own = choice | own
    if NULL in choices:
        own["type"] = [own["type"], "null"]
        own |= {"enum": [*own["enum"], None]} if "enum" in own else {}
    if "properties" in own:
        own["properties"] = {name: _inlined(part, definitions) for name, part in own["properties"].items()}
        if "default" in own and own["default"] == defaults({"properties": own["properties"]}):
            del own["default"]
    if "items" in own:
        own["items"] = _inlined(own["items"], definitions)
    return _in_order(own)


def _in_order(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in FIRST if key in schema} | schema
