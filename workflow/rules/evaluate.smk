"""
Evaluate: similarity, features and Dice of every synthetic scan (section 4.1, Evaluation Metrics).

Input: synthetic scans, the judge's labels and the feature network. Output: per shard an index; metrics per scan and
feature vectors.
"""


rule extractor:
    """Provide MedicalNet's weights, or seeded random ones where the configuration allows them."""
    output:
        weights="<results>/models/extractor/weights.safetensors",
        source="<results>/models/extractor/source.json",
    log:
        "<logs>/extractor.log",
    benchmark:
        "<benchmarks>/extractor.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        reads=stage_reads("extractor"),
        config=configuration,
    shell:
        "python -m meddiff stage extractor"
        " --config {params.config:q}"
        " --out {output.weights:q}"
        " --source {output.source:q}"
        " 2>&1 | tee {log:q}"


rule evaluate:
    """Score a share of the scans of one method: a model's synthetic ones, or the real ones for the ceiling."""
    input:
        store=STORE,
        judged="<results>/segment/{method}/index.tsv",
        weights="<results>/models/extractor/weights.safetensors",
        source="<results>/models/extractor/source.json",
    output:
        "<results>/evaluate/{method}/shard-{shard}.tsv",
    log:
        "<logs>/evaluate/{method}-{shard}.log",
    benchmark:
        "<benchmarks>/evaluate/{method}-{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("evaluate"),
        config=configuration,
        judged=subpath(input.judged, parent=True),
        synthetic=lambda wildcards: (
            []
            if wildcards.method == "real"
            else f"--synthetic={OUT}/synthesize/{wildcards.method}"
        ),
    shell:
        "python -m meddiff stage evaluate"
        " --config {params.config:q}"
        " --name {wildcards.method}"
        " --shard {wildcards.shard}"
        " --store {input.store:q}"
        " {params.synthetic:q}"
        " --judged {params.judged:q}"
        " --extractor {input.weights:q}"
        " --extractor-source {input.source:q}"
        " --index {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule gather_scores:
    """Put the scores of all shards of one method into one table."""
    input:
        index=expand(
            "<results>/evaluate/{{method}}/shard-{shard}.tsv", shard=SAMPLING_SHARDS
        ),
    output:
        metrics="<results>/metrics/{method}.csv",
        features="<results>/metrics/{method}.npz",
    log:
        "<logs>/gather_scores/{method}.log",
    benchmark:
        "<benchmarks>/gather_scores/{method}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        reads=stage_reads("gather_scores"),
        index=options("index"),
    shell:
        "python -m meddiff stage gather_scores"
        " {params.index:q}"
        " --out {output.metrics:q}"
        " --features {output.features:q}"
        " 2>&1 | tee {log:q}"
