"""Anomaly maps of the scans with lesion labels, nnU-Net beside them, and the scores that both are (Table 5)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.config import REGION_OF, SUPERVISED, Config, Organ
from meddiff.config.stages import settings_of
from meddiff.machine.device import choose_device
from meddiff.machine.shards import Item, run_shard
from meddiff.nnunet.model import Images, NnUNet
from meddiff.store.query import by_dataset, labelled, where
from meddiff.store.record import Record
from meddiff.store.view import View
from meddiff.tasks.anomaly import Probe, anomaly_map, organ_mask, timesteps
from meddiff.tasks.sampler import Sampler
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise

log = logging.getLogger(__name__)

INTENSITY, BRIGHTER = "intensity alone", "whole scan, brighter only"
Scorer = Callable[["LesionCase"], np.ndarray]


@dataclass(frozen=True)
class LesionCase:
    """A stored region with lesions: the organ, and the lesions inside it (the paper leaves out the others)."""

    record: Record
    organ: Organ
    organ_zyx: np.ndarray
    lesion_zyx: np.ndarray


def organ_records(records: list[Record]) -> list[Record]:
    """Return the records of Table 5: those with lesions of an organ in which anomalies are looked for.

    A dataset whose lesions lie elsewhere, such as lymph nodes, has none: it would be scored by what of them happens to
    overlap a lung or a liver.
    """
    metas = ((record, record.meta) for record in labelled(records))
    return [record for record, meta in metas if meta.lesion_organ and REGION_OF[meta.lesion_organ] == meta.region]


def learned_and_tested(records: list[Record]) -> tuple[list[Record], list[Record]]:
    """Return what nnU-Net learns from, the 80 % for training and validation of section 4.1, and the others."""
    return [record for record in records if record.meta.split != "test"], where(records, split="test")


def choosing(learned: list[Record]) -> list[Record]:
    """Return, of the records that are not tested, those that choose the thresholds.

    Choice: the validation cases; without any, the training cases.
    """
    return where(learned, split="val") or learned


def read_case(record: Record, closing_mm: float) -> LesionCase:
    """Return a case of `organ_records`.

    Raises:
        CaseError: the scan has no such organ.
    """
    organ = record.meta.lesion_organ
    if organ is None:
        raise ValueError(f"{record.id} is of no dataset with lesions of an organ")
    organ_zyx = organ_mask(record.anatomy[:], organ, record.meta.spacing_mm, closing_mm)
    return LesionCase(record, organ, organ_zyx, (record.lesion[:] > 0) & organ_zyx)


def write_maps(records: list[Record], sampler: Sampler, config: Config, index: Path) -> None:
    """Write every scored case's anomaly maps at every timestep of its organ: of the organ alone, of the whole scan."""

    def work(item: Item) -> dict[str, Any]:
        record, t, masked = item.of
        case, probe = read_case(record, config.anomaly.closing_mm), Probe(t, config.anomaly.draws, masked)
        found = anomaly_map(sampler, View.from_record(record), case.organ, case.organ_zyx, probe, config.seed)
        volumes.write_image(record.as_image(found), item.output)
        return {"organ": case.organ, "t": t, "masked": masked}

    def item(record: Record, t: int, masked: bool) -> Item:
        name = map_name(t, masked)
        output = index.parent / record.id / f"{name}.nii.gz"
        return Item(f"{record.id}-{name}", (record.path,), output, (sampler.checksum,), (record, t, masked))

    parts = [learned_and_tested(of_dataset) for of_dataset in by_dataset(records).values()]
    scored = [record for learned, tested in parts for record in (*choosing(learned), *tested)]
    items = [item(r, t, masked) for r in scored for t in organ_timesteps(r, config) for masked in (True, False)]
    run_shard("anomaly maps", items, settings_of(config, "anomaly_maps"), work, index)


def map_name(t: int, masked: bool) -> str:
    """Return the stem of a map's file."""
    return f"{t}" if masked else f"{t}-whole"


def paper_row(t: int) -> str:
    """Return the name of the paper's row in Table 5: the absolute difference, of the organ alone."""
    return f"meddiff-fm ({t})"


def map_scorers(out: Path, ts: tuple[int, ...]) -> dict[str, Scorer]:
    """Return the scores of Table 5's rows that need no training: the intensity and the maps.

    The rows that are named as the paper's are of the organ alone. The others see the whole scan; the last of them
    counts what is brighter than expected, as lesions of the lung are.
    Choice: |A_map|. The paper's A_map = x_0 - x_0' has a sign, and it names none to look for: a lesion may be darker or
    brighter than healthy tissue.
    """
    scorers: dict[str, Scorer] = {INTENSITY: _intensity}
    for t in ts:
        masked, whole = (_map_reader(out, map_name(t, m)) for m in (True, False))
        scorers[paper_row(t)] = lambda case, read=masked: np.abs(read(case))
        scorers[f"{paper_row(t)}, whole scan"] = lambda case, read=whole: np.abs(read(case))
        scorers[f"{paper_row(t)}, {BRIGHTER}"] = lambda case, read=whole: np.maximum(read(case), 0)
    return scorers


def supervised_scorers(out: Path) -> dict[str, Scorer]:
    """Return the score of nnU-Net's probability maps."""

    def read(case: LesionCase) -> np.ndarray:
        return volumes.to_zyx(volumes.read_image(probability_path(out, case.record.id)))

    return {SUPERVISED: read}


def probability_path(out: Path, case_id: str) -> Path:
    """Return where nnU-Net's probability of a lesion lies."""
    return out / f"{case_id}_probability.nii.gz"


def predict_supervised(records: list[Record], config: Config, work: Path, out: Path) -> None:
    """Train nnU-Net on all but the test cases of each dataset, and write its probability of a lesion for these.

    The same networks judge generated lesions (Table 6), so that datasets without an organ have one too.
    """
    for dataset, of_dataset in by_dataset(labelled(records)).items():
        training, test = ({record.id: record for record in part} for part in learned_and_tested(of_dataset))
        if not training:
            log.warning("%s: no training case; the fully supervised row stays empty", dataset)
            continue
        network = NnUNet(work / dataset, config.nnunet, choose_device(config.machine.device).type)
        network.train((name, *labelled_images(record)) for name, record in training.items())
        network.predict(Images(test, lambda name, test=test: ct_image(test[name])), out, probability=True)


def ct_image(record: Record) -> sitk.Image:
    return record.as_image(record.ct[:])


def labelled_images(record: Record) -> tuple[sitk.Image, sitk.Image]:
    """Return a stored scan and its lesions."""
    return ct_image(record), record.as_image(record.lesion[:])


def _map_reader(out: Path, name: str) -> Scorer:
    def read(case: LesionCase) -> np.ndarray:
        return volumes.to_zyx(volumes.read_image(out / case.record.id / f"{name}.nii.gz"))

    return read


def _intensity(case: LesionCase) -> np.ndarray:
    """Return how bright a voxel is: what a map must be better than."""
    return normalise(case.record.ct[:], case.record.meta.window) + 1


def organ_timesteps(record: Record, config: Config) -> tuple[int, ...]:
    """Return the timesteps for scans of a record's dataset."""
    organ = record.meta.lesion_organ
    return timesteps(config.anomaly, organ) if organ else ()
