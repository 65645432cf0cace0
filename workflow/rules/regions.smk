"""
Regions: head and neck, chest and abdomen (section 4.1).

Input: a shard's anatomy. Output: per shard an index; per case the boxes of its regions and why they were chosen.
"""


rule regions:
    """Split whole-body scans by TotalSegmentator's landmarks and cut every region to the body."""
    input:
        manifest="<results>/data/manifest.tsv",
        anatomy="<results>/data/anatomy/shard-{shard}.tsv",
    output:
        "<results>/data/regions/shard-{shard}.tsv",
    log:
        "<logs>/regions/{shard}.log",
    benchmark:
        "<benchmarks>/regions/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        reads=stage_reads("regions"),
        config=configuration,
    shell:
        "python -m meddiff stage regions"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " --anatomy {input.anatomy:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"
