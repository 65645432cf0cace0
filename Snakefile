"""
MedDiff-FM: from CT archives to a diffusion foundation model and the tables of its paper.

    snakemake --cores 8 all                                    the demo, on real CT
    snakemake --cores 8 all --configfile config/phantom.yaml   the same on phantoms, without any download
    snakemake --cores 8 all --configfile config/paper.yaml     the paper

Each stage is one file in workflow/rules and one verb of `meddiff`; the rules hold no logic of their own.
"""

from snakemake.utils import min_version

min_version("9.27")

# A configuration given with --configfile replaces the demo's instead of being laid over it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/rawdata.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/resample.smk"
include: "workflow/rules/anatomy_weights.smk"
include: "workflow/rules/anatomy.smk"
include: "workflow/rules/regions.smk"
include: "workflow/rules/store.smk"
include: "workflow/rules/qc.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/synthesize.smk"
include: "workflow/rules/low_dose.smk"
include: "workflow/rules/denoise.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/lesion.smk"
include: "workflow/rules/superres.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/train_anatomy.smk"


# On a cluster these run where Snakemake does: they are short, and those that fetch need a network.
localrules:
    all,
    prepare,
    fetch,
    phantoms,
    extractor,
    anatomy_weights,
    index,
    qc_page,
    cohort,
    gather_scores,
    tables,
    report,


rule all:
    default_target: True
    input:
        f"{OUT}/tables/table1.csv",
        f"{OUT}/tables/table2.csv",
        f"{OUT}/tables/table3.csv",
        f"{OUT}/tables/table4.csv",
        f"{OUT}/tables/table5.csv",
        f"{OUT}/tables/table6.csv",
        f"{OUT}/tables/table_sr.csv",
        f"{OUT}/qc/index.html",
        f"{OUT}/qc/cohort.tsv",
        f"{OUT}/report/index.html",


rule prepare:
    """The crop store of all datasets, and the page of its quality control."""
    input:
        STORE,
        f"{OUT}/qc/index.html",
        f"{OUT}/qc/cohort.tsv",
