"""
Index: find the cases.

Input: the raw data of the demo or the phantoms; other datasets are read from their roots.
Output: the manifest, one row per case with image, region, split and shard. Beside it lie the counts of each dataset
against what is expected, the fingerprints by which a scan that is there twice is found, and the state of each root.
"""


rule index:
    """Find the cases of all configured datasets; splits and shards are hashes of names, so new cases move no others."""
    input:
        PROVIDED,
    output:
        "<results>/data/manifest.tsv",
    log:
        "<logs>/index.log",
    benchmark:
        "<benchmarks>/index.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reads=stage_reads("index"),
        config=configuration,
        raw=lambda wildcards: f"{OUT}/data/raw",
        roots=roots,
    shell:
        "python -m meddiff stage index"
        " --config {params.config:q}"
        " --raw {params.raw:q}"
        " --out {output:q}"
        " 2>&1 | tee {log:q}"
