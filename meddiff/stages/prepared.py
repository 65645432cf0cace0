"""What the stages `resample`, `anatomy` and `regions` have made of a shard's cases."""

from dataclasses import dataclass
from pathlib import Path

from meddiff.machine.shards import done_rows


@dataclass(frozen=True)
class Prepared:
    """Files of the cases that came so far, by the case's id."""

    scans: dict[str, Path]
    anatomy: dict[str, Path]
    boxes: dict[str, Path]

    @classmethod
    def read(cls, resampled: Path, anatomy: Path, regions: Path) -> "Prepared":
        """Return what the shard's indices of the three stages list as done."""
        return cls(*({row.id: row.path for row in done_rows([index])} for index in (resampled, anatomy, regions)))
