"""
Anatomy weights: TotalSegmentator's networks, fetched once for all jobs that segment.

Output: what they are, with the sha256 of each; they themselves lie in the cache (`meddiff weights`).
"""


rule anatomy_weights:
    """Bring TotalSegmentator's weights unless they are there; a half download of an earlier job is replaced."""
    output:
        "<results>/models/anatomy/source.json",
    log:
        "<logs>/anatomy_weights.log",
    benchmark:
        "<benchmarks>/anatomy_weights.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        reads=stage_reads("anatomy-weights"),
        config=configuration,
    shell:
        "python -m meddiff anatomy-weights --config {params.config:q} --out {output:q} 2>&1 | tee {log:q}"
