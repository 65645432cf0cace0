"""`meddiff generate`: pairs of a CT and its labels from nothing."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meddiff.cli.options import (
    AnatomyVersion,
    OwnConfig,
    OwnControl,
    OwnModel,
    Seed,
    Threads,
    check_region,
    own_config,
    own_model,
)
from meddiff.config import Config, Organ, Region
from meddiff.errors import UserError
from meddiff.weights import LESIONS

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

    from meddiff.tasks.bank import Source

NNUNET_DATASET = "Dataset900_MedDiff"

log = logging.getLogger(__name__)


def generate(
    region: Annotated[Region, typer.Option(help="What the pairs show.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    count: Annotated[int, typer.Option("--n", min=1, help="How many; more of them later change none.")] = 10,
    bank: Annotated[
        Path | None, typer.Option(help="Folder of label maps to make new anatomies from; none: the package's own few.")
    ] = None,
    store: Annotated[
        list[Path] | None, typer.Option(help="Instead of --bank: indices of the store of a training.")
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="Whose a label map is: a regular expression with a group; none: each another's.")
    ] = None,
    anatomy_version: AnatomyVersion = 2,
    lesions: Annotated[Organ | None, typer.Option(help="Draw a lesion into this organ of each.")] = None,
    diameter_mm: Annotated[float, typer.Option(min=1, help="Size of the lesions.")] = 20.0,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="Check the organs by TotalSegmentator.")] = True,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Keep a CT that does not pass, with the reason in the manifest.")
    ] = False,
    nnunet: Annotated[bool, typer.Option("--nnunet", help="Write nnU-Net's raw format, too.")] = False,
    model: OwnModel = None,
    control: OwnControl = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write new anatomies, a CT that the model draws for each, and a manifest; the same command goes on.

    A CT counts when the HU of its organs are those of the training and TotalSegmentator finds its organs where they
    should be; else it is drawn again, three times at most. All pairs of a person are in one split.
    """
    check_region(region)
    if bank and store:
        raise UserError("give either --bank, a folder of label maps, or --store, the indices of a training's store")
    from meddiff.api.controls import control_of
    from meddiff.machine.device import set_up_cpu
    from meddiff.store.known import known_regions
    from meddiff.store.record import Record
    from meddiff.tasks.pairs import Maker, WantedPairs
    from meddiff.tasks.sampler import Sampler

    set_up_cpu(threads)
    model = own_model(model)
    settings = own_config(config, model)
    sources = _sources(region, bank, store, anatomy_version, person)
    chosen = control_of(LESIONS, control, model) if lesions else None
    sampler = Sampler(model, settings.sampling, settings.machine, chosen)
    known = sampler.model.scans or known_regions(source.of for source in sources if isinstance(source.of, Record))
    wanted = WantedPairs(region, seed, lesions, diameter_mm, anyway)
    with _judge(settings, region) if judge else nullcontext() as find:
        rows = Maker(sampler, wanted, known, find, settings).pairs(sources, count, out)
    log.info("%d of %d pairs in %s", len(rows), count, out / "manifest.tsv")
    if not rows:
        raise UserError(
            f"none of {count} pairs passes; {out / 'index.tsv'} has the reasons. Take a model that has seen more scans "
            "of the region (--model), or --anyway for what this one draws"
        )
    if nnunet:
        _write_nnunet(out)


def _sources(
    region: Region, bank: Path | None, store: list[Path] | None, version: int, person: str | None
) -> "list[Source]":
    """Return the anatomies to begin with."""
    from meddiff.tasks.bank import folder_bank, shipped_bank, store_bank

    if bank:
        return folder_bank(bank, version, person)
    return store_bank(store, region, person) if store else shipped_bank(region)


@contextmanager
def _judge(config: Config, region: Region) -> "Iterator[Callable[[sitk.Image], np.ndarray] | None]":
    """Give TotalSegmentator as the judge of a CT, or None, which is said, where its weights are not here."""
    from meddiff.anatomy.misplaced import replace_misplaced
    from meddiff.anatomy.segmenter import Segmenter
    from meddiff.machine.device import choose_device

    with ExitStack() as stack:
        try:
            segmenter = stack.enter_context(Segmenter(config.anatomy, choose_device(config.machine.device).type))
        except UserError as error:
            log.warning("organs are not checked by TotalSegmentator: %s", error)
            yield None
        else:
            yield lambda ct: replace_misplaced(segmenter.segment(ct), region, config.anatomy.weights)


def _write_nnunet(out: Path) -> None:
    from meddiff.anatomy.appearance import NAMES
    from meddiff.anatomy.labels import BODY
    from meddiff.machine.tsv import read_tsv
    from meddiff.nnunet.raw import RawPair, write_raw

    rows = read_tsv(out / "manifest.tsv")
    pairs = [
        RawPair(r["id"], r["split"], out / r["image"], out / r["labels"], out / r["lesion"] if r["lesion"] else None)
        for r in rows
    ]
    write_raw(out / "nnUNet_raw" / NNUNET_DATASET, pairs, NAMES, (BODY,))
