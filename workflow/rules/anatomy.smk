"""
Anatomy: the structures that condition the model (c_a, section 3.2), and the networks that find them.

Input: a shard's resampled scans. Output: per shard an index; label maps with TotalSegmentator's 117 classes and the body.
TotalSegmentator's weights are fetched once for all jobs that segment; they lie in the cache (`meddiff weights`).
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
        reads=stage_reads("anatomy_weights"),
        config=configuration,
    shell:
        "python -m meddiff stage anatomy_weights"
        " --config {params.config:q}"
        " --out {output:q}"
        " 2>&1 | tee {log:q}"


rule anatomy:
    """Segment a shard's scans with TotalSegmentator, its model loaded once, and add the body by threshold."""
    input:
        weights="<results>/models/anatomy/source.json",
        resampled="<results>/data/resample/shard-{shard}.tsv",
    output:
        "<results>/data/anatomy/shard-{shard}.tsv",
    log:
        "<logs>/anatomy/{shard}.log",
    benchmark:
        "<benchmarks>/anatomy/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("anatomy"),
        config=configuration,
    shell:
        "python -m meddiff stage anatomy"
        " --config {params.config:q}"
        " --resampled {input.resampled:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"
