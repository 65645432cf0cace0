"""Whether every dataset has scans that can be used, once all have been prepared."""

from pathlib import Path
from typing import Any

from meddiff.datasets.fingerprints import THE_SAME_AS
from meddiff.datasets.index import Case, read_manifest
from meddiff.errors import UserError
from meddiff.machine.shards import done_rows
from meddiff.machine.tsv import write_tsv
from meddiff.report.html import quarantine_list
from meddiff.report.layout import Results

COLUMNS = ("dataset", "found", "used", "copies", "first_reason")


def write_cohort(results: Results, path: Path) -> None:
    """Write how many scans of each dataset were found and are used; a copy of another dataset's scan is not.

    Raises:
        UserError: of some dataset none is used, and not because it repeats another; a line for each.
    """
    stored = {row.id.rsplit("_", 1)[0] for row in done_rows(results.prepared["store"])}  # a record is case and region
    refused = quarantine_list(results.prepared)
    reasons = {(r["case"].rsplit("_", 1)[0] if r["stage"] == "store" else r["case"]): r["reason"] for r in refused}
    datasets: dict[str, list[Case]] = {}
    for case in read_manifest(results.manifest):
        datasets.setdefault(case.dataset, []).append(case)
    rows = [_row(cases, stored, reasons) for cases in datasets.values()]
    write_tsv(rows, COLUMNS, path)
    problems = [
        f"{row['dataset']}: none of its {row['found']} scans can be used, the first for this reason: "
        f"{row['first_reason']}; {results.qc / 'index.html'} has all"
        for row in rows
        if not row["used"] and row["copies"] < row["found"]
    ]
    if problems:
        raise UserError("\n".join(problems))


def _row(cases: list[Case], stored: set[str], reasons: dict[str, str]) -> dict[str, Any]:
    return {
        "dataset": cases[0].dataset,
        "found": len(cases),
        "used": sum(case.id in stored for case in cases),
        "copies": sum(case.quarantine.startswith(THE_SAME_AS) for case in cases),
        "first_reason": next((reasons[case.id] for case in cases if case.id in reasons), ""),
    }
