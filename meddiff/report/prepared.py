"""What became of the cases of a dataset: prepared, or quarantined at one of the stages; for Tables 1 and 2."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddiff.datasets import Dataset
from meddiff.datasets.index import Case
from meddiff.machine.shards import DONE, QUARANTINED, Row, read_index
from meddiff.report.layout import divided_by
from meddiff.report.tables import ABSENT, MEASURED

GAP = float("nan")
PROVIDED = {"disk": "", "demo": "demo data", "phantom": "phantoms"}


@dataclass(frozen=True)
class Prepared:
    """The stored regions, and the cases that some stage refused, wholly or one of their regions."""

    regions: list[Row]
    refused: set[str]

    @classmethod
    def from_indices(cls, indices: dict[str, list[Path]]) -> "Prepared":
        """Read the shard indices by stage; `store` must be among them."""
        rows = {stage: [row for path in paths for row in read_index(path)] for stage, paths in indices.items()}
        refused = {
            case_of(row) if stage == "store" else row.id
            for stage, of_stage in rows.items()
            for row in of_stage
            if row.status == QUARANTINED
        }
        return cls([row for row in rows["store"] if row.status == DONE], refused)

    def regions_of(self, cases: list[Case]) -> list[Row]:
        ids = {case.id for case in cases}
        return [row for row in self.regions if case_of(row) in ids]

    def counts(self, dataset: Dataset, cases: list[Case], **more: float) -> dict[str, Any]:
        """Return what a row says of a dataset, with `more` numbers; of a dataset without cases they are nan."""
        prepared = {case_of(row) for row in self.regions_of(cases)}
        refused = {case.id for case in cases if case.id in self.refused} - prepared
        numbers = {"cases": len(cases), "prepared": len(prepared), "quarantined": len(refused), **more}
        notes = (PROVIDED[dataset.provider], divided_by(cases)) if cases else ()
        return {
            "n": len(prepared),
            "cases_paper": dataset.cases_paper or GAP,
            **(numbers if cases else dict.fromkeys(numbers, GAP)),
            "made_with": "; ".join(filter(None, notes)),
            "status": MEASURED if cases else ABSENT,
        }


def case_of(row: Row) -> str:
    """Return the id of the case that a stored region is of."""
    return row.id.rsplit("_", 1)[0]
