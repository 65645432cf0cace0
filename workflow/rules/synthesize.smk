"""
Synthesize: whole volumes for the anatomy of the held-out scans (section 3.3, Fig. 4).

Input: a model and the crop store. Output: per shard an index; one synthetic twin per held-out region.
"""


rule synthesize:
    """Sample whole volumes with sliding windows; volumes that are there already are kept."""
    input:
        weights="<results>/models/{model}/model.safetensors",
        config="<results>/models/{model}/config.json",
        store=STORE,
    output:
        "<results>/synthesize/{model}/shard-{shard}.tsv",
    log:
        "<logs>/synthesize/{model}-{shard}.log",
    benchmark:
        "<benchmarks>/synthesize/{model}-{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=2160,
        gpu=SAMPLING_GPUS,
    params:
        reads=stage_reads("synthesize"),
        config=configuration,
        model=subpath(input.weights, parent=True),
    shell:
        "python -m meddiff stage synthesize"
        " --config {params.config:q}"
        " --model {params.model:q}"
        " --shard {wildcards.shard}"
        " --store {input.store:q}"
        " --index {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
