"""
Segment: TotalSegmentator as the judge of the synthetic scans (section 4.1, Evaluation Metrics).

Input: synthetic scans, or the stored held-out scans themselves for the ceiling. Output: an index; label maps.
"""


rule segment:
    """Segment a model's synthetic scans; or the held-out scans as stored: the best Dice that this judge can give."""
    input:
        weights="<results>/models/anatomy/source.json",
        store=STORE,
        synthetic=lambda wildcards: (
            []
            if wildcards.method == "real"
            else expand(
                f"{OUT}/synthesize/{wildcards.method}/shard-{{shard}}.tsv",
                shard=SAMPLING_SHARDS,
            )
        ),
    output:
        "<results>/segment/{method}/index.tsv",
    log:
        "<logs>/segment/{method}.log",
    benchmark:
        "<benchmarks>/segment/{method}.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("segment"),
        config=configuration,
        synthetic=options("synthetic"),
    shell:
        "python -m meddiff stage segment"
        " --config {params.config:q}"
        " --store {input.store:q}"
        " {params.synthetic:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"
