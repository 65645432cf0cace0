"""
Distill: a model that samples in few steps. No other rule asks for it.

    snakemake --cores 8 results/models/meddiff-fm/few-steps/model.safetensors

Input: a model and the crop store. Output: a model bundle; its runs' checkpoints lie in runs/.
"""


rule distill:
    """Bring a model's sampling steps down to a few; a stopped one goes on from its newest checkpoint."""
    input:
        teacher="<results>/models/{model}/model.safetensors",
        store=STORE,
    output:
        weights="<results>/models/{model}/few-steps/model.safetensors",
        config="<results>/models/{model}/few-steps/config.json",
    log:
        "<logs>/distill/{model}.log",
    benchmark:
        "<benchmarks>/distill/{model}.tsv"
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
        reads=lambda wildcards: stage_reads("distill", wildcards.model),
        config=configuration,
        teacher=subpath(input.teacher, parent=True),
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        launcher=start_training,
    shell:
        "{params.launcher} meddiff stage distill"
        " --config {params.config:q}"
        " --model {params.teacher:q}"
        " --store {input.store:q}"
        " --runs {params.runs:q}"
        " --out {params.out:q}"
        " --max-minutes {resources.slice_min}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
