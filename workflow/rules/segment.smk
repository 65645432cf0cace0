"""
Segment: TotalSegmentator as the judge of the synthetic scans (section 4.1, Evaluation Metrics).

Input: synthetic scans, or the stored held-out scans themselves for the ceiling. Output: an index; label maps.
"""


rule segment_synthetic:
    """Segment a model's synthetic scans."""
    input:
        weights=f"{OUT}/models/anatomy/source.json",
        store=STORE,
        synthetic=expand(
            f"{OUT}/synthesis/{{{{model}}}}/shard-{{shard}}.tsv", shard=SAMPLING_SHARDS
        ),
    output:
        f"{OUT}/judged/{{model}}/index.tsv",
    log:
        f"{LOGS}/segment/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/segment/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("segment"),
        config=stage_config("segment"),
        out=subpath(output[0], parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
        synthetic=lambda wildcards, input: [
            f"--synthetic={path}" for path in input.synthetic
        ],
    shell:
        "python -m meddiff segment --config {params.config:q} {params.store:q} {params.synthetic:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


rule segment_real:
    """Segment the held-out scans as the store holds them: the best Dice that this judge can give."""
    input:
        weights=f"{OUT}/models/anatomy/source.json",
        store=STORE,
    output:
        f"{OUT}/judged/real/index.tsv",
    log:
        f"{LOGS}/segment/real.log",
    benchmark:
        f"{BENCHMARKS}/segment/real.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("segment"),
        config=stage_config("segment"),
        out=subpath(output[0], parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff segment --config {params.config:q} {params.store:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


ruleorder: segment_real > segment_synthetic
