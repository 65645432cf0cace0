"""Pairs of a CT and its labels from nothing: a new anatomy, the CT that the model draws for it, and whether it fits."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.appearance import Appearance, KnownScans
from meddiff.anatomy.deformation import new_anatomy
from meddiff.anatomy.drawn_lesions import draw_lesion
from meddiff.config import Config, Organ, Region
from meddiff.diffusion.sliding import Place
from meddiff.errors import CaseError
from meddiff.machine.files import read_json
from meddiff.machine.seeds import seed_from
from meddiff.machine.shards import DONE, Item, Row, run_shard, sidecar
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.overlap import organ_dice
from meddiff.tasks.anomaly import organ_mask
from meddiff.tasks.bank import Source
from meddiff.tasks.fit import anatomy_misfits, beyond, other_noise
from meddiff.tasks.lesions import LesionView, generate, with_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.synthesis import forget_state, synthesize
from meddiff.volumes import volumes
from meddiff.volumes.hu import air_hu

log = logging.getLogger(__name__)

VERSION = 2  # of how a pair is made; of another one it is made again
ATTEMPTS = 3
MOST_BEYOND = 0.2  # Choice: share of the structures whose HU may lie beyond those of the training, as of real scans
# Choice: mean over the region's major organs, of what TotalSegmentator finds in the CT; by the demo weights, which find
# 0.67 to 0.95 of a real scan's own labels, less.
LEAST_DICE = {"official": 0.7, "demo": 0.5}
LEAST_ORGAN_ML = 5.0  # of an organ that is judged
COLUMNS = (
    *("id", "image", "labels", "lesion", "source", "person", "split", "seed", "attempts"),
    *("least_jacobian", "structures", "beyond", "dice", "problem"),
)

Judge = Callable[[sitk.Image], np.ndarray]  # the labels that are found in a CT


@dataclass(frozen=True)
class WantedPairs:
    """What is asked for.

    Args:
        region: what the pairs show.
        seed: of anatomies and drawings.
        lesion: the organ that a lesion is drawn into, if there shall be one.
        diameter_mm: its size.
        anyway: whether a CT that does not pass is kept, with what is wrong with it.
    """

    region: Region
    seed: int
    lesion: Organ | None = None
    diameter_mm: float = 20.0
    anyway: bool = False


class Check(NamedTuple):
    """What a drawn CT is like.

    Args:
        structures: how many were looked at.
        beyond: those of them with other HU than the training's.
        noise: how its noise is another than that of the training, in words.
        dice: the mean Dice of its organs, as the judge sees it.
        least_dice: that it must reach.
    """

    structures: int
    beyond: list[str]
    noise: str | None = None
    dice: float | None = None
    least_dice: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        dice = "" if self.dice is None else self.dice
        found = {"structures": self.structures, "beyond": ",".join(self.beyond), "dice": dice}
        return found | {"problem": self.problem or ""}

    @property
    def problem(self) -> str | None:
        """Why it is no pair; None where it is one."""
        if len(self.beyond) > MOST_BEYOND * self.structures:
            return f"{len(self.beyond)} of {self.structures} structures have other HU, such as {self.beyond[0]}"
        if self.noise:
            return f"{self.noise} in the training"
        if self.dice is not None and not self.dice >= self.least_dice:
            return f"a Dice of {self.dice:.2f} with what TotalSegmentator finds in it"
        return None


@dataclass(frozen=True)
class Maker:
    """What makes and checks pairs.

    Args:
        sampler: the model; for lesions one that was fine-tuned for them.
        wanted: what is asked for.
        known: what the scans of the training look like; HU are not checked where it does not say.
        judge: finds labels in a CT; None: the Dice is not checked.
        config: for region and lesions.
    """

    sampler: Sampler
    wanted: WantedPairs
    known: Mapping[Region, KnownScans]
    judge: Judge | None
    config: Config

    def pairs(self, bank: Sequence[Source], count: int, out: Path) -> list[Row]:
        """Write `images/`, `labels/`, `lesions/` and `manifest.tsv`; what was done before is kept.

        Anatomies take turns; a pair depends on its number and the seed alone, so that more of them change none. One of
        which no attempt passes is left out, with its reason in `index.tsv`.
        """
        settings = [VERSION, self.sampler.identity, asdict(self.wanted)]
        settings += [{region: asdict(known) for region, known in self.known.items()}]
        settings += [self.config.regions.model_dump(mode="json"), self.config.anomaly.closing_mm]
        settings += [self.config.anatomy.model_dump(mode="json") if self.judge else None]
        items = [self._item(number, bank[number % len(bank)], out) for number in range(count)]
        rows = run_shard("generate", items, settings, self._make, out / "index.tsv")
        done = [row for row in rows if row.status == DONE]
        write_tsv([read_json(sidecar(row.path))["details"] for row in done], COLUMNS, out / "manifest.tsv")
        return done

    def _item(self, number: int, source: Source, out: Path) -> Item:
        name = f"{self.wanted.region}-{number:04d}"
        return Item(name, (source.path,), out / "images" / f"{name}.nii.gz", source.facts, (number, source))

    def _make(self, item: Item) -> dict[str, Any]:
        number, source = item.of
        wanted, spacing_mm = self.wanted, self.sampler.model.spacing_mm
        rng = np.random.default_rng([wanted.seed, number])
        anatomy = new_anatomy(source.labels(wanted.region, spacing_mm, self.config.regions), rng)
        labels_zyx = volumes.to_zyx(anatomy.labels)
        if spoilt := [m.text for m in anatomy_misfits(labels_zyx, wanted.region, self.sampler.model.scans) if m.spoils]:
            raise CaseError(f"{source.name}: {spoilt[0]}")
        lesion_zyx = self._lesion(labels_zyx, rng)
        ct, facts = self._accepted(number, anatomy.labels, lesion_zyx, item.output)
        places = {"image": item.output, "labels": _beside(item.output, "labels")}
        volumes.write_image(anatomy.labels, places["labels"])
        if lesion_zyx is not None:
            places["lesion"] = _beside(item.output, "lesions")
            volumes.write_image(volumes.like(lesion_zyx.astype(np.uint8), ct), places["lesion"])
        volumes.write_image(ct, item.output)
        forget_state(item.output)
        root = item.output.parents[1]
        known = {"id": item.id, "source": source.name, "person": source.person, "split": source.split, "lesion": ""}
        known |= {name: str(path.relative_to(root)) for name, path in places.items()}
        return known | {"least_jacobian": round(anatomy.least_jacobian, 3)} | facts

    def _accepted(
        self, number: int, labels: sitk.Image, lesion_zyx: np.ndarray | None, out: Path
    ) -> tuple[sitk.Image, dict[str, Any]]:
        """Return the first CT that passes, or the first of all, with how it was made.

        Raises:
            CaseError: none passes, and none that does not is wanted.
        """
        problems = []
        for attempt in range(ATTEMPTS):
            seed = seed_from(self.wanted.seed, number, attempt)
            ct = volumes.like(self._draw(volumes.to_zyx(labels), lesion_zyx, seed, out), labels)
            check = self.check(ct, volumes.to_zyx(labels))
            if check.problem:
                log.info("drawing %d of %d does not pass: %s", attempt + 1, ATTEMPTS, check.problem)
            if self.wanted.anyway or not check.problem:
                return ct, {"seed": seed, "attempts": attempt + 1} | check.facts
            problems.append(check.problem)
            forget_state(out)
        raise CaseError(f"none of {ATTEMPTS} drawings passes: {'; '.join(problems)}")

    def check(self, ct: sitk.Image, labels_zyx: np.ndarray) -> Check:
        """Compare a CT with the anatomy that was asked for, and with the scans of the training."""
        region, spacing_mm = self.wanted.region, self.sampler.model.spacing_mm
        structures, far, noise, mean_dice = 0, [], None, None
        if region in self.known:
            look = Appearance.of(
                volumes.to_zyx(ct), labels_zyx, spacing_mm, self.sampler.model.windows.for_region(region)
            )
            seen = self.known[region]
            structures, far, noise = len(look.median_hu), beyond(look, seen), other_noise(look, seen)
        if self.judge:
            least_vox = round(LEAST_ORGAN_ML * 1000 / spacing_mm**3)
            scores = list(organ_dice(labels_zyx, self.judge(ct), region, least_vox).values())
            mean_dice = None if np.isnan(scores).all() else round(float(np.nanmean(scores)), 3)
        return Check(structures, far, noise, mean_dice, LEAST_DICE[self.config.anatomy.weights])

    def _lesion(self, labels_zyx: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        wanted, spacing_mm = self.wanted, self.sampler.model.spacing_mm
        if wanted.lesion is None:
            return None
        organ_zyx = organ_mask(labels_zyx, wanted.lesion, spacing_mm, self.config.anomaly.closing_mm)
        return draw_lesion(organ_zyx, wanted.diameter_mm, spacing_mm, rng)

    def _draw(self, labels_zyx: np.ndarray, lesion_zyx: np.ndarray | None, seed: int, out: Path) -> np.ndarray:
        region, model = self.wanted.region, self.sampler.model
        window = model.windows.for_region(region)
        if lesion_zyx is None:
            return synthesize(self.sampler, labels_zyx, region, window, seed, out).hu_zyx
        air_zyx, whole = np.full(labels_zyx.shape, air_hu(window), np.int16), Place((0, 0, 0), labels_zyx.shape)
        shown_zyx = with_lesion(labels_zyx, lesion_zyx)
        view = LesionView(air_zyx, shown_zyx, region, window, model.spacing_mm, lesion_zyx, whole)
        return generate(self.sampler, view, seed, out.name)


def _beside(image: Path, part: str) -> Path:
    return image.parents[1] / part / image.name
