"""
Anatomy: the structures that condition the model (c_a, section 3.2).

Input: a shard's resampled scans. Output: per shard an index; label maps with TotalSegmentator's 117 classes and the body.
"""


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
    threads: 4
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=1,
    params:
        reads=stage_reads("anatomy"),
        config=configuration,
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff anatomy --config {params.config:q} --resampled {input.resampled:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"
