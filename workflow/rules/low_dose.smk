"""
Low dose: pairs of a noisy and a clean scan (Table 4).

Input: the manifest, the resampled scans and the crop store. Output: an index of the pairs.
"""


rule low_dose:
    """Pair the scans of datasets that have low dose, or simulate it for a few of each split; segment the noisy ones."""
    input:
        weights="<results>/models/anatomy/source.json",
        manifest="<results>/data/manifest.tsv",
        resampled=expand("<results>/data/resample/shard-{shard}.tsv", shard=SHARDS),
        store=STORE,
    output:
        "<results>/low_dose/index.tsv",
    log:
        "<logs>/low_dose.log",
    benchmark:
        "<benchmarks>/low_dose.tsv"
    priority: 1  # much follows from it
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("low_dose"),
        config=configuration,
        resampled=options("resampled"),
    shell:
        "python -m meddiff stage low_dose"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " {params.resampled:q}"
        " --store {input.store:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"
