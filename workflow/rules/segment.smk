"""
Segment: TotalSegmentator as the judge of the synthetic scans (section 4.1, Evaluation Metrics).

Input: synthetic scans, or the stored held-out scans themselves for the ceiling. Output: an index; label maps.
"""


rule segment_synthetic:
    """Segment a model's synthetic scans."""
    input:
        weights="<results>/models/anatomy/source.json",
        store=STORE,
        synthetic=expand(
            "<results>/synthesis/{{model}}/shard-{shard}.tsv", shard=SAMPLING_SHARDS
        ),
    output:
        "<results>/judged/{model}/index.tsv",
    log:
        "<logs>/segment/{model}.log",
    benchmark:
        "<benchmarks>/segment/{model}.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("segment"),
        config=configuration,
        out=subpath(output[0], parent=True),
        store=options("store"),
        synthetic=options("synthetic"),
    shell:
        "python -m meddiff segment --config {params.config:q} {params.store:q} {params.synthetic:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


rule segment_real:
    """Segment the held-out scans as the store holds them: the best Dice that this judge can give."""
    input:
        weights="<results>/models/anatomy/source.json",
        store=STORE,
    output:
        "<results>/judged/real/index.tsv",
    log:
        "<logs>/segment/real.log",
    benchmark:
        "<benchmarks>/segment/real.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("segment"),
        config=configuration,
        out=subpath(output[0], parent=True),
        store=options("store"),
    shell:
        "python -m meddiff segment --config {params.config:q} {params.store:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


ruleorder: segment_real > segment_synthetic
