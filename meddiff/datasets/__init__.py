"""The registry: every dataset of Tables 1 and 2, RPLHR-CT, the demo's and the phantoms.

An entry says what the scans show, how many cases the paper used, how the publisher lays the files out
and where to get them. A configuration names datasets and their root folders; a dataset of one's own is
an entry in the configuration alone.
"""

from dataclasses import replace
from pathlib import Path

from meddiff.config import DatasetConfig, Region
from meddiff.datasets.embedded import DEMO, PHANTOMS
from meddiff.datasets.entry import PROVIDER_FILE, Dataset, Remote
from meddiff.datasets.published import PUBLISHED
from meddiff.errors import UserError

__all__ = ["PROVIDER_FILE", "PUBLISHED", "REGISTRY", "Dataset", "Remote", "known_below", "listing", "resolve"]

REGISTRY = {dataset.name: dataset for dataset in (*PUBLISHED, *DEMO, *PHANTOMS)}


def resolve(config: DatasetConfig, raw_dir: Path) -> Dataset:
    """Return the registry's entry with the configuration's values on top.

    A dataset of one's own with lesion labels is one of the downstream tasks; every label but 0 is a lesion.

    Raises:
        UserError: an unknown dataset without region, or one without a root.
    """
    known = REGISTRY.get(config.name)
    if known is None and (config.region is None or config.root is None):
        raise UserError(
            f"data.datasets: {config.name!r} is not in the registry; give its root and region, "
            f"or use one of {', '.join(REGISTRY)}"
        )
    if known is not None and known.provider == "disk" and config.root is None:
        raise UserError(f"data.datasets: {config.name!r} needs a root, the folder with its files")
    base = known or Dataset(config.name, config.name, config.region or Region.WHOLE_BODY)
    base = replace(base, region=config.region or base.region, root=config.root or raw_dir / config.name)
    if config.image:
        base = replace(base, image=(config.image,))
    if config.case:
        base = replace(base, case=config.case)
    if config.patient:
        base = replace(base, patient=config.patient)
    if config.lesion:
        values = base.lesion_values if base.lesion else ()
        base = replace(base, lesion=(config.lesion,), lesion_values=values, role="downstream")
    return replace(base, lesion_organ=config.lesion_organ or base.lesion_organ)


def known_below(root: Path) -> list[DatasetConfig]:
    """Return an entry for each published dataset that has a folder of its name below `root`.

    Raises:
        UserError: there is none.
    """
    found = [DatasetConfig(name=d.name, root=root / d.name) for d in PUBLISHED if (root / d.name).is_dir()]
    if not found:
        raise UserError(
            f"--root {root}: expected folders that are named as in `meddiff datasets` ({PUBLISHED[0].name}, ...), "
            f"found {listing(root)}"
        )
    return found


def listing(folder: Path) -> str:
    """Return the first names in a folder, for messages."""
    if not folder.is_dir():
        return "no such folder"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "an empty folder"
