"""
MedDiff-FM: from CT archives to a diffusion foundation model and the tables of its paper.

    snakemake --cores 8 all                                    the demo, on real CT
    snakemake --cores 8 all --configfile config/phantom.yaml   the same on phantoms, without any download
    snakemake --cores 8 all --configfile config/my-scans.yaml  scans of one's own
    snakemake --cores 8 all --configfile config/paper.yaml     the paper

The workflow is in workflow/Snakefile.
"""


include: "workflow/Snakefile"


# Snakemake forgets which target is the default at the end of an included file.
workflow.default_target = "all"
