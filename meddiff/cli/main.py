"""The program `meddiff`: its verbs, its messages and its exit codes.

Exit codes: 0 done; 1 a fault of the machine or of this program; 2 something to mend, said in one line; 75 stopped at a
checkpoint, the same command goes on.
"""

import logging
import os
import sys

import typer

from meddiff.cli import (
    anatomy,
    anomaly,
    config,
    datasets,
    denoise,
    detect,
    distill,
    evaluate,
    extractor,
    fetch,
    finetune,
    index,
    judge_lesions,
    lesion,
    low_dose,
    model,
    phantoms,
    plan,
    pretrain,
    qc,
    regions,
    report,
    resample,
    segment,
    store,
    superres,
    synthesize,
    tables,
    train_anatomy,
    weights,
)
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.faults import machine_fault
from meddiff.machine.home import stand_in_home

EXIT_MACHINE_FAULT, EXIT_USER_ERROR, EXIT_GO_ON = 1, 2, 75

app = typer.Typer(
    help="A 3-D diffusion foundation model for CT. The verbs are the stages of the pipeline, in its order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(datasets.datasets)
app.command()(datasets.download)
app.command()(fetch.fetch)
app.command()(phantoms.phantoms)
app.command()(weights.weights)
app.command("anatomy-weights")(weights.anatomy_weights)
app.command()(index.index)
app.command()(resample.resample)
app.command()(anatomy.anatomy)
app.command()(regions.regions)
app.command()(store.store)
app.command()(qc.qc)
app.command("qc-page")(qc.qc_page)
app.command()(qc.cohort)
app.command()(pretrain.pretrain)
app.command()(distill.distill)
app.command()(synthesize.synthesize)
app.command("synthesize-shard")(synthesize.synthesize_shard)
app.command()(denoise.denoise)
app.command("low-dose")(low_dose.low_dose)
app.command("train-denoiser")(low_dose.train_denoiser)
app.command("filter-pairs")(denoise.filter_pairs)
app.command("denoise-pairs")(denoise.denoise_pairs)
app.command()(detect.detect)
app.command("anomaly-maps")(anomaly.anomaly_maps)
app.command()(anomaly.supervised)
app.command("score-anomaly")(anomaly.score_anomaly)
app.command()(finetune.finetune)
app.command("draw-lesions")(judge_lesions.draw_lesions)
app.command("judge-lesions")(judge_lesions.judge_lesions)
app.command("augment-lesions")(judge_lesions.augment_lesions)
app.command("thick-slices")(superres.thick_slices)
app.command("measured-slices")(superres.measured_slices)
app.command("super-resolve")(superres.super_resolve)
app.command()(superres.superres)
app.add_typer(lesion.app, name="lesion")
app.command()(segment.segment)
app.command()(extractor.extractor)
app.command()(evaluate.evaluate)
app.command()(evaluate.gather_scores)
app.command()(tables.tables)
app.command()(report.draw_twins)
app.command()(report.report)
app.command("train-anatomy")(train_anatomy.train_anatomy)
app.command()(plan.plan)
app.command()(config.config)
app.add_typer(model.app, name="model")


def run() -> None:
    """Run the program and exit."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    first_process = os.environ.get("RANK", "0") == "0"  # of those that torchrun started
    logging.getLogger("meddiff").setLevel(logging.INFO if first_process else logging.WARNING)
    try:
        with stand_in_home():
            app()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"meddiff: {line}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except TimeSliceEnded as error:
        print(f"meddiff: {error}", file=sys.stderr)
        sys.exit(EXIT_GO_ON)
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        print(f"meddiff: {fault}", file=sys.stderr)
        sys.exit(EXIT_MACHINE_FAULT)
