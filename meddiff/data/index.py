"""The manifest: one row per case that lies on disk, found by the datasets' patterns.

Nothing is read but names; whether a case can be used is found out when it is read, and then it is either
prepared or quarantined with a reason, never dropped.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from meddiff.config import DataConfig, Region
from meddiff.data.datasets import PROVIDER_FILE, Dataset, resolve
from meddiff.data.tsv import read_tsv, write_tsv
from meddiff.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One row of the manifest."""

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

    @property
    def id(self) -> str:
        return f"{self.dataset}_{self.case}"


def find_cases(config: DataConfig, raw_dir: Path, seed: int) -> list[Case]:
    """Return the cases of all configured datasets, sorted.

    Raises:
        UserError: a root folder does not exist, or two entries have the same name.
    """
    cases = []
    for dataset in (resolve(entry, raw_dir) for entry in config.datasets):
        shares = config.downstream_split if dataset.role == "downstream" else config.split
        for name, path in _entries(dataset).items():
            split = dataset.official_split.get(name) or draw_split(dataset.name, name, shares, seed)
            shard = _hash(dataset.name, name) % config.shards
            patterns = (dataset.lesion, dataset.low_dose, dataset.thick)
            partners = [_partner(dataset, path, pattern) for pattern in patterns]
            cases.append(Case(dataset.name, name, path, dataset.region, dataset.role, split, shard, *partners))
    return sorted(cases, key=lambda case: (case.dataset, case.case))


def draw_split(dataset: str, case: str, shares: tuple[float, float, float], seed: int) -> str:
    """Return train, val or test from a hash of dataset, case and seed, so that new cases never move others."""
    position = _hash(dataset, case, str(seed)) / 2**64
    return SPLITS[0] if position < shares[0] else SPLITS[1] if position < shares[0] + shares[1] else SPLITS[2]


def write_manifest(cases: list[Case], path: Path) -> None:
    write_tsv([asdict(case) for case in cases], [f.name for f in fields(Case)], path)


def read_manifest(path: Path) -> list[Case]:
    def case(row: dict[str, str]) -> Case:
        partners = [Path(row[name]) if row[name] else None for name in ("lesion", "low_dose", "thick")]
        own = (row["dataset"], row["case"], Path(row["image"]), Region(row["region"]), row["role"], row["split"])
        return Case(*own, int(row["shard"]), *partners)

    return [case(row) for row in read_tsv(path)]


def _partner(dataset: Dataset, image: Path, pattern: str) -> Path | None:
    """Return the file or folder that belongs to an image; None where the dataset has none, or it is not there."""
    if not pattern or dataset.root is None:
        return None
    parent = image.parent.relative_to(dataset.root)
    path = dataset.root / pattern.format(name=image.name, parent=parent)
    return path if path.exists() else None


def _entries(dataset: Dataset) -> dict[str, Path]:
    root = dataset.root
    if root is None or not root.is_dir():
        raise UserError(f"data.datasets: {dataset.name}: the folder {root} does not exist; correct its root")
    found: dict[str, Path] = {}
    for path in sorted(root.glob(dataset.image)):
        if path.name == PROVIDER_FILE or path.name.startswith("."):
            continue
        name = _case_name(path, root)
        if name in found:
            raise UserError(
                f"data.datasets: {dataset.name}: {found[name]} and {path} are both case {name!r}; rename one"
            )
        found[name] = path
    return found


def _case_name(path: Path, root: Path) -> str:
    """Return the part of the path that tells cases apart: the file's own name, or its folder when all share it."""
    relative = path.relative_to(root)
    generic = {"ct", "image", "data", "dicom_anon", "full_1mm", "ctres"}
    stem = re.sub(r"(\.nii)?\.gz$|\.(nii|nrrd|mha|mhd)$", "", path.name)
    parts = list(relative.parts[:-1]) if stem.lower() in generic and len(relative.parts) > 1 else [stem]
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-") or "case"


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")
