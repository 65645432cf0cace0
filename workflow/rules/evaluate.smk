"""
Evaluate: similarity, features and Dice of every synthetic scan (section 4.1, Evaluation Metrics).

Input: synthetic scans, the judge's labels and the feature network. Output: per shard an index; metrics per scan and
feature vectors.
"""


rule extractor:
    """Provide MedicalNet's weights, or seeded random ones where the configuration allows them."""
    output:
        weights=f"{OUT}/models/extractor/weights.safetensors",
        source=f"{OUT}/models/extractor/source.json",
    log:
        f"{LOGS}/extractor.log",
    benchmark:
        f"{BENCHMARKS}/extractor.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        reads=stage_reads("extractor"),
        config=stage_config("extractor"),
    shell:
        "python -m meddiff extractor --config {params.config:q} --out {output.weights:q} --source {output.source:q}"
        " 2>&1 | tee {log:q}"


rule evaluate:
    """Score a share of the scans of one method: a model's synthetic ones, or the real ones for the ceiling."""
    input:
        store=STORE,
        judged=f"{OUT}/judged/{{method}}/index.tsv",
        weights=f"{OUT}/models/extractor/weights.safetensors",
        source=f"{OUT}/models/extractor/source.json",
    output:
        f"{OUT}/scores/{{method}}/shard-{{shard}}.tsv",
    log:
        f"{LOGS}/evaluate/{{method}}-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{method}}-{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=1,
    params:
        reads=stage_reads("evaluate"),
        config=stage_config("evaluate"),
        judged=subpath(input.judged, parent=True),
        out=subpath(output[0], parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
        synthetic=lambda wildcards: (
            []
            if wildcards.method == "real"
            else [f"--synthetic={OUT}/synthesis/{wildcards.method}"]
        ),
    shell:
        "python -m meddiff evaluate --config {params.config:q} --name {wildcards.method} --shard {wildcards.shard}"
        " {params.store:q} {params.synthetic:q} --judged {params.judged:q} --extractor {input.weights:q}"
        " --extractor-source {input.source:q} --out {params.out:q} --index {output:q} --threads {threads} 2>&1 | tee {log:q}"


rule gather_scores:
    """Put the scores of all shards of one method into one table."""
    input:
        expand(
            f"{OUT}/scores/{{{{method}}}}/shard-{{shard}}.tsv", shard=SAMPLING_SHARDS
        ),
    output:
        metrics=f"{OUT}/metrics/{{method}}.csv",
        features=f"{OUT}/metrics/{{method}}.npz",
    log:
        f"{LOGS}/evaluate/{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{method}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        index=lambda wildcards, input: [f"--index={path}" for path in input],
    shell:
        "python -m meddiff gather-scores {params.index:q} --out {output.metrics:q} --features {output.features:q}"
        " 2>&1 | tee {log:q}"
