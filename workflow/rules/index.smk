"""
Index: find the cases.

Input: the raw data of the demo or the phantoms; other datasets are read from their roots.
Output: the manifest, one row per case with image, region, split and shard. Beside it lie the counts of each dataset
against what is expected, and the fingerprints by which a scan that is there twice is found.
"""


rule index:
    """Find the cases of all configured datasets; splits and shards are hashes of names, so new cases move no others."""
    input:
        [
            dataset.root / "SOURCE.json"
            for dataset in DATASETS
            if dataset.provider != "disk"
        ],
    output:
        f"{OUT}/data/manifest.tsv",
    log:
        f"{LOGS}/index.log",
    benchmark:
        f"{BENCHMARKS}/index.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reads=stage_reads("index"),
        config=stage_config("index"),
        raw=lambda wildcards: f"{OUT}/data/raw",
    shell:
        "python -m meddiff index --config {params.config:q} --raw {params.raw:q} --out {output:q} 2>&1 | tee {log:q}"
