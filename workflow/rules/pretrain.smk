"""
Pretrain: the diffusion foundation model and the models it is compared with (section 3.2).

Input: the crop store. Output: a model bundle. Checkpoints lie in runs/, which is no output: Snakemake would delete it.
"""


rule pretrain:
    """Train one model, on all GPUs of `machine.processes`; a stopped one goes on from its newest checkpoint."""
    input:
        store=STORE,
    output:
        weights="<results>/models/{model}/model.safetensors",
        config="<results>/models/{model}/config.json",
    log:
        "<logs>/pretrain/{model}.log",
    benchmark:
        "<benchmarks>/pretrain/{model}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        **TRAINING_GPUS,
        mem_mb=32000,
        runtime=TRAINING_RUNTIME_MIN,
        slice_min=TRAINING_SLICE_MIN,
    params:
        reads=lambda wildcards: stage_reads("pretrain", wildcards.model),
        config=configuration,
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        launcher=start_training,
    shell:
        "{params.launcher} meddiff stage pretrain"
        " --config {params.config:q}"
        " --name {wildcards.model}"
        " --store {input.store:q}"
        " --runs {params.runs:q}"
        " --out {params.out:q}"
        " --max-minutes {resources.slice_min}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
