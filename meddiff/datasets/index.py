"""The manifest: one row per case that lies on disk, found by the datasets' patterns.

Nothing is read but names and publishers' tables; whether a case can be used is found out when it is read, and then
it is either prepared or quarantined with a reason, never dropped.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from meddiff.config import DataConfig, Organ, Region
from meddiff.datasets import Dataset, resolve
from meddiff.datasets.layout import Layout
from meddiff.datasets.roots import stamp_of
from meddiff.datasets.splits import hash_of, split_cases
from meddiff.errors import UserError
from meddiff.machine.tsv import read_tsv, write_tsv


@dataclass(frozen=True)
class Case:
    """One row of the manifest.

    `header` is what the image's own header lacks (`meddiff.volumes.ct_rate`), `lesion_values`, `lesion_on_scan_grid`,
    `lesion_organ` and `lesion_hu` are the dataset's, `quarantine` is why the case cannot be used, where that is known
    before it is read, `split_origin` says in words who made the split, and `stamp` changes with the case's files.
    """

    dataset: str
    case: str
    image: Path
    region: Region
    role: str
    split: str
    shard: int
    lesion: Path | None = None
    low_dose: Path | None = None
    thick: Path | None = None
    header: str = ""
    lesion_values: tuple[int, ...] = (1,)
    lesion_on_scan_grid: bool = False
    quarantine: str = ""
    split_origin: str = ""
    lesion_organ: Organ | None = None
    lesion_hu: tuple[float, ...] = ()
    stamp: str = ""

    @property
    def id(self) -> str:
        return f"{self.dataset}_{self.case}"


def find_cases(config: DataConfig, raw_dir: Path, seed: int, shards: int = 1) -> list[Case]:
    """Return the cases of all configured datasets, sorted, and spread over so many shards.

    Raises:
        UserError: a root folder does not exist or has another layout, or two entries have the same name.
    """
    cases, problems = [], []
    for dataset in (resolve(entry, raw_dir) for entry in config.datasets):
        try:
            cases += _cases_of(dataset, config, seed, shards)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return sorted(cases, key=lambda case: (case.dataset, case.case))


def _cases_of(dataset: Dataset, config: DataConfig, seed: int, shards: int) -> list[Case]:
    cases = Layout(dataset).cases()
    return [
        Case(
            dataset.name,
            found.name,
            found.image,
            dataset.region,
            dataset.role,
            split.name,
            hash_of(dataset.name, found.name) % shards,
            found.lesion,
            found.low_dose,
            found.thick,
            found.header.as_text() if found.header else "",
            dataset.lesion_values,
            dataset.lesion_on_scan_grid,
            found.quarantine,
            split.origin,
            dataset.lesion_organ,
            dataset.lesion_hu,
        )
        for found, split in zip(cases, split_cases(dataset, cases, config, seed), strict=True)
    ]


def stamped(cases: list[Case], threads: int) -> list[Case]:
    """Return the cases with the stamps of their files, so that the manifest changes when a scan is replaced."""
    with ThreadPoolExecutor(threads) as pool:
        stamps = pool.map(lambda case: stamp_of((case.image, case.lesion, case.low_dose, case.thick)), cases)
        return [replace(case, stamp=stamp) for case, stamp in zip(cases, stamps, strict=True)]


def check_present(cases: Iterable[Case], kind: Literal["image", "lesion"]) -> None:
    """Refuse to work while a dataset's disk is away: its scans would be quarantined one by one as missing.

    Raises:
        UserError: of some dataset not one of these cases' files is where the manifest says.
    """
    files: dict[str, list[Path]] = {}
    for case in cases:
        if (path := getattr(case, kind)) and not case.quarantine:
            files.setdefault(case.dataset, []).append(path)
    for dataset, paths in files.items():
        if not any(path.exists() for path in paths):
            folder = os.path.commonpath([path.parent for path in paths])
            raise UserError(f"{dataset}: nothing of it is below {folder} any more; mount its disk, or index again")


def write_manifest(cases: list[Case], path: Path) -> None:
    rows = [
        asdict(case) | {name: " ".join(map(str, getattr(case, name))) for name in ("lesion_values", "lesion_hu")}
        for case in cases
    ]
    write_tsv(rows, [f.name for f in fields(Case)], path)


def read_manifest(path: Path) -> list[Case]:
    """Return the cases of a manifest.

    Raises:
        UserError: it has other columns.
    """

    def case(row: dict[str, str]) -> Case:
        paths = {name: Path(row[name]) if row[name] else None for name in ("image", "lesion", "low_dose", "thick")}
        others: dict[str, Any] = {
            "region": Region(row["region"]),
            "shard": int(row["shard"]),
            "lesion_values": tuple(map(int, row["lesion_values"].split())),
            "lesion_hu": tuple(map(float, row["lesion_hu"].split())),
            "lesion_on_scan_grid": row["lesion_on_scan_grid"] == "True",
            "lesion_organ": Organ(row["lesion_organ"]) if row["lesion_organ"] else None,
        }
        return Case(**{**row, **paths, **others})

    try:
        return [case(row) for row in read_tsv(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a manifest of this version of meddiff ({error}); run `meddiff stage index` again"
        ) from None
