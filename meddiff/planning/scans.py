"""How many scans a run has, of which region and split: from the manifest, or as the registry expects them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meddiff.config import Config, Region
from meddiff.datasets import Dataset, resolve
from meddiff.datasets.entry import SPLITS
from meddiff.datasets.index import Case
from meddiff.datasets.splits import expected_sizes
from meddiff.errors import UserError

# Millions of voxels of 1 mm: of a whole scan, and of a region cut out of it. Chest, abdomen and whole body are as the
# demo's; head and neck lie between its head (64) and a scan of the brain (8).
SCAN_MVOX = {Region.HAN: 40.0, Region.CHEST: 35.0, Region.ABDOMEN: 40.0, Region.WHOLE_BODY: 120.0}
REGION_MVOX = 40.0
PAIR_MVOX = 156.0  # a scan of Mayo 2016 as it was reconstructed: 594 slices of 512 x 512
REGIONS_PER_WHOLE_BODY = 2  # most show chest and abdomen


@dataclass(frozen=True)
class Scans:
    """The scans of one dataset, by split."""

    dataset: Dataset
    by_split: dict[str, int]

    @property
    def count(self) -> int:
        return sum(self.by_split.values())

    def regions(self, split: str) -> int:
        """Return how many regions the scans of a split give."""
        whole = self.dataset.region == Region.WHOLE_BODY
        return self.by_split[split] * (REGIONS_PER_WHOLE_BODY if whole else 1)


def expected_scans(config: Config) -> list[Scans]:
    """Return the scans that the registry expects of the configured datasets.

    Raises:
        UserError: how many scans a dataset of one's own has is not known.
    """
    return [Scans(dataset, _expected(dataset, config)) for dataset in _datasets(config)]


def manifest_scans(config: Config, cases: Sequence[Case]) -> list[Scans]:
    """Return the scans of a manifest that are prepared: without copies and others that it quarantines.

    Raises:
        UserError: it has a dataset that the configuration has not.
    """
    datasets = {dataset.name: dataset for dataset in _datasets(config)}
    if surplus := sorted({case.dataset for case in cases} - set(datasets)):
        raise UserError(f"the manifest has {', '.join(surplus)}, which the configuration has not; index anew")
    counts = Counter((case.dataset, case.split) for case in cases if not case.quarantine)
    return [Scans(dataset, {split: counts[name, split] for split in SPLITS}) for name, dataset in datasets.items()]


def _datasets(config: Config) -> list[Dataset]:
    return [resolve(entry, Path(config.output_dir) / "data" / "raw") for entry in config.data.datasets]


def _expected(dataset: Dataset, config: Config) -> dict[str, int]:
    if dataset.cases_expected:
        return expected_sizes(dataset, dataset.cases_expected, config.data)
    named = Counter(dataset.official_split.values())  # the demo's and the phantoms' cases
    if not named:
        raise UserError(f"{dataset.name}: how many scans it has is not known; give --manifest (`meddiff index`)")
    return {split: named[split] for split in SPLITS}
