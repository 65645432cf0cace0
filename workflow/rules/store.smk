"""
Store: regions as compressed arrays from which a crop is read in milliseconds.

Input: a shard's resampled scans, anatomy and boxes. Output: per shard an index; per region a record of the crop store;
one index of all, so that what follows has one input and not one of each shard.
"""


rule store:
    """Cut a shard's scans to their regions, clip them to the region's window and store them."""
    input:
        manifest="<results>/data/manifest.tsv",
        resampled="<results>/data/resample/shard-{shard}.tsv",
        anatomy="<results>/data/anatomy/shard-{shard}.tsv",
        regions="<results>/data/regions/shard-{shard}.tsv",
    output:
        "<results>/data/store/shard-{shard}.tsv",
    log:
        "<logs>/store/{shard}.log",
    benchmark:
        "<benchmarks>/store/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=60,
    params:
        reads=stage_reads("store"),
        config=configuration,
    shell:
        "python -m meddiff stage store"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " --resampled {input.resampled:q}"
        " --anatomy {input.anatomy:q}"
        " --regions {input.regions:q}"
        " --index {output:q}"
        " --threads {threads}"
        " --memory-mb {resources.mem_mb}"
        " 2>&1 | tee {log:q}"


rule gather_store:
    """Put the indices of all shards into one."""
    input:
        expand("<results>/data/store/shard-{shard}.tsv", shard=SHARDS),
    output:
        "<results>/data/store/index.tsv",
    log:
        "<logs>/gather_store.log",
    benchmark:
        "<benchmarks>/gather_store.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    shell:
        "awk 'NR == 1 || FNR > 1' {input:q} > {output:q} 2> {log:q}"
