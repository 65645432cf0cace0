"""How well anomaly maps, brightness alone and nnU-Net find lesions: the rows of Table 5.

Each case is counted once, into a file of its own, so that a stopped run goes on; a row is the sum of its cases.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.config import SUPERVISED, Config
from meddiff.config.stages import settings_of
from meddiff.machine.files import read_json, temporary_beside
from meddiff.machine.shards import Item, Row, done_rows, run_shard, sidecar
from meddiff.metrics.common_cases import common_ids
from meddiff.metrics.detection import LesionCounts, Rates, VoxelScores, count_lesions
from meddiff.stages.detect import (
    INTENSITY,
    Scorer,
    choosing,
    learned_and_tested,
    map_name,
    map_scorers,
    organ_records,
    organ_timesteps,
    probability_path,
    read_case,
    supervised_scorers,
)
from meddiff.store.query import by_dataset
from meddiff.store.record import Record

SUPERVISED_THRESHOLD = 0.5  # of a probability: where nnU-Net's own segmentation has a lesion
CHOOSING, TEST = "choosing", "test"
NO_LESIONS = LesionCounts(0, 0, 0)


@dataclass
class Counts:
    """The scores of one method on some cases.

    `whole` counts every voxel of the cropped scan, as the paper does; `organ` the voxels of the organ, since most of
    the others are trivial.
    """

    whole: VoxelScores = field(default_factory=VoxelScores)
    organ: VoxelScores = field(default_factory=VoxelScores)
    lesions: LesionCounts = NO_LESIONS

    def row(self, threshold: float) -> dict[str, float]:
        rates = Rates(*3 * [threshold]) if np.isnan(threshold) else self.whole.rates(threshold)
        scores = {"threshold": threshold, "auc": self.whole.auc(), **rates._asdict()}
        scores |= {"organ_auc": self.organ.auc(), "organ_ap": self.organ.average_precision()}
        return scores | self.lesions._asdict()


@dataclass(frozen=True)
class Study:
    """The methods of one dataset, and where the counts of its cases go.

    Args:
        scorers: name -> reads the method's score of a case. It counts as 0 outside of the organ for every method alike,
            since the lesions there are left out.
        fixed: thresholds of SPE, SEN and ACC that are not chosen.
        inputs: id of a record -> the files that the scorers read.
        config: the sections of the stage `score_anomaly`.
        out: folder of the counts.
        threads: cases at a time.
    """

    scorers: dict[str, Scorer]
    fixed: dict[str, float]
    inputs: dict[str, tuple[Path, ...]]
    config: Config
    out: Path
    threads: int

    def table(self, choosing: list[Record], test: list[Record]) -> list[dict[str, Any]]:
        """Return a row of scores for each method on the test cases.

        Choice: the threshold with the best sum of sensitivity and specificity on other cases than those that are
        scored, where none is fixed.
        """
        free = [name for name in self.scorers if name not in self.fixed]
        counts, _ = self._count(CHOOSING, choosing, dict.fromkeys(free, float("nan")))
        thresholds = self.fixed | {name: counts[name].organ.best_threshold() for name in free}
        found, n = self._count(TEST, test, {name: thresholds[name] for name in self.scorers})
        return [{"method": name, "n": n, **found[name].row(thresholds[name])} for name in self.scorers]

    def _count(self, part: str, records: list[Record], thresholds: dict[str, float]) -> tuple[dict[str, Counts], int]:
        """Return the counts of each method over some cases, and how many these are."""

        def work(item: Item) -> dict[str, LesionCounts]:
            case, arrays, lesions = read_case(item.of, self.config.anomaly.closing_mm), [], {}
            for name, threshold in thresholds.items():
                score_zyx = np.where(case.organ_zyx, self.scorers[name](case), 0)
                counts = Counts()
                counts.organ.add(score_zyx, case.lesion_zyx, case.organ_zyx)
                if part == TEST:
                    counts.whole.add(score_zyx, case.lesion_zyx)
                    lesions[name] = count_lesions(score_zyx >= threshold, case.lesion_zyx)
                arrays.append((counts.whole.counts, counts.organ.counts))
            item.output.parent.mkdir(parents=True, exist_ok=True)
            with temporary_beside(item.output) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, counts=np.array(arrays))
            return lesions

        facts = tuple(f"{name} {threshold}" for name, threshold in thresholds.items())
        folder = self.out / part
        items = [Item(r.id, (r.path, *self.inputs[r.id]), folder / f"{r.id}.npz", facts, r) for r in records]
        settings, index = settings_of(self.config, "score_anomaly"), folder / "index.tsv"
        run_shard(f"score anomalies, {part}", items, settings, work, index, self.threads)
        return _sum(done_rows([index]), list(thresholds))


def score_all(
    store: list[Record], config: Config, maps: Path, probabilities: Path, out: Path, threads: int = 1
) -> list[dict[str, Any]]:
    """Return the rows of Table 5 that can be measured: the datasets in the store, and the maps that were made.

    All rows of a dataset are of the test cases that have every map, and nnU-Net's prediction if there are any; `note`
    says which have not.

    Args:
        store: finished rows of the crop store.
        config: the sections of the stage `score_anomaly`.
        maps: folder of the anomaly maps.
        probabilities: folder of nnU-Net's probability maps.
        out: folder of what was counted in each case; a stopped call goes on from it.
        threads: cases at a time.
    """
    table = []
    for dataset, records in by_dataset(organ_records(store)).items():
        ts = organ_timesteps(records[0], config)
        files = {record.id: _map_files(record, maps, ts) for record in records}
        learned, test = learned_and_tested([r for r in records if all(path.exists() for path in files[r.id])])
        predicted = {record.id for record in records if probability_path(probabilities, record.id).exists()}
        every = {INTENSITY: [r.id for r in learned_and_tested(records)[1]], "a map": [r.id for r in test]}
        common = common_ids(f"Table 5, {dataset},", every | {SUPERVISED: predicted & {*every[INTENSITY]}})
        scorers, fixed = map_scorers(maps, ts), {}
        if predicted:
            scorers, fixed = scorers | supervised_scorers(probabilities), {SUPERVISED: SUPERVISED_THRESHOLD}
            files = {name: (*paths, probability_path(probabilities, name)) for name, paths in files.items()}
        tested = [record for record in test if record.id in common.ids]
        study = Study(scorers, fixed, files, config, out / dataset, threads)
        table += [{"dataset": dataset, **row, "note": common.note} for row in study.table(choosing(learned), tested)]
    return table


def _map_files(record: Record, maps: Path, ts: tuple[int, ...]) -> tuple[Path, ...]:
    return tuple(maps / record.id / f"{map_name(t, masked)}.nii.gz" for t in ts for masked in (True, False))


def _sum(rows: list[Row], methods: list[str]) -> tuple[dict[str, Counts], int]:
    sums = {name: Counts() for name in methods}
    for row in rows:
        lesions = read_json(sidecar(row.path))["details"]
        for name, (whole, organ) in zip(methods, np.load(row.path)["counts"], strict=True):
            sums[name].whole.counts += whole
            sums[name].organ.counts += organ
            added = lesions.get(name, NO_LESIONS)
            sums[name].lesions = LesionCounts(*(a + b for a, b in zip(sums[name].lesions, added, strict=True)))
    return sums, len(rows)
