"""How many scans a run has, by dataset and split: as its manifest counts them, or as their publishers do."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from meddiff.config import Config, Region
from meddiff.datasets import Dataset, resolve
from meddiff.datasets.index import read_manifest
from meddiff.datasets.splits import expected_sizes
from meddiff.errors import UserError

REGIONS_PER_WHOLE_BODY = 2  # most show chest and abdomen


class Scans(NamedTuple):
    """The scans of one dataset, by split."""

    dataset: Dataset
    by_split: Mapping[str, int]

    def regions(self, split: str) -> int:
        """Return how many regions the scans of a split give."""
        return self.by_split[split] * (REGIONS_PER_WHOLE_BODY if self.dataset.region == Region.WHOLE_BODY else 1)


def count_scans(config: Config, manifest: Path | None) -> list[Scans]:
    """Return the scans of the configured datasets, without those that the manifest quarantines.

    Raises:
        UserError: without a manifest, if nobody published how many scans a dataset has.
    """
    datasets = [resolve(entry, config.output_dir / "data" / "raw") for entry in config.data.datasets]
    if manifest is None:
        return [Scans(dataset, _published(dataset, config)) for dataset in datasets]
    cases = [case for case in read_manifest(manifest) if not case.quarantine]
    return [Scans(each, Counter(case.split for case in cases if case.dataset == each.name)) for each in datasets]


def _published(dataset: Dataset, config: Config) -> Mapping[str, int]:
    if dataset.cases_expected:
        return expected_sizes(dataset, dataset.cases_expected, config.data)
    if dataset.official_split:  # the demo's and the phantoms'
        return Counter(dataset.official_split.values())
    raise UserError(
        f"{dataset.name}: how many scans it has is not known before they are indexed; first make "
        f"{config.output_dir}/data/manifest.tsv with snakemake and the same configuration"
    )
