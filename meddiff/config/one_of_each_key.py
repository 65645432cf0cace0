"""A loader of YAML; the workflow loads this file by itself, also where the package is not installed."""

from typing import Any

import yaml


class OneOfEachKey(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's loaders silently take the last: four lines that were added to a
    file would replace all that it says of `data`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(None, None, f"{key!r} stands twice; put both into one", node.start_mark)
        return super().construct_mapping(node, deep)
