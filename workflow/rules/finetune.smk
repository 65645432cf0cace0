"""
Finetune: ControlNets for lesions and for super-resolution (section 3.2, Eq. 2).

Input: the foundation model and the crop store. Output: a ControlNet's bundle; its checkpoints lie in runs/.
"""


rule finetune_lesions:
    """Train on one lesion dataset, with the pretrained weights or from scratch; a stopped one goes on."""
    input:
        foundation="<results>/models/meddiff-fm/model.safetensors",
        store=STORE,
    output:
        weights="<results>/models/lesions/{dataset}/{origin}/control.safetensors",
        config="<results>/models/lesions/{dataset}/{origin}/config.json",
    log:
        "<logs>/finetune_lesions/{dataset}-{origin}.log",
    benchmark:
        "<benchmarks>/finetune_lesions/{dataset}-{origin}.tsv"
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
        reads=stage_reads("finetune_lesions"),
        config=configuration,
        model=subpath(input.foundation, parent=True),
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        launcher=start_training,
    shell:
        "{params.launcher} meddiff stage finetune_lesions"
        " --config {params.config:q}"
        " --dataset {wildcards.dataset}"
        " --origin {wildcards.origin}"
        " --model {params.model:q}"
        " --store {input.store:q}"
        " --runs {params.runs:q}"
        " --out {params.out:q}"
        " --max-minutes {resources.slice_min}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule finetune_super_resolution:
    """Train on RPLHR-CT's own pairs, or on regions of the pretraining and their means; a stopped one goes on."""
    input:
        foundation="<results>/models/meddiff-fm/model.safetensors",
        measured=MEASURED_SLICES,
        store=STORE,
    output:
        weights="<results>/models/super-resolution/control.safetensors",
        config="<results>/models/super-resolution/config.json",
    log:
        "<logs>/finetune_super_resolution.log",
    benchmark:
        "<benchmarks>/finetune_super_resolution.tsv"
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
        reads=stage_reads("finetune_super_resolution"),
        config=configuration,
        model=subpath(input.foundation, parent=True),
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        measured=options("measured"),
        launcher=start_training,
    shell:
        "{params.launcher} meddiff stage finetune_super_resolution"
        " --config {params.config:q}"
        " --model {params.model:q}"
        " {params.measured:q}"
        " --store {input.store:q}"
        " --runs {params.runs:q}"
        " --out {params.out:q}"
        " --max-minutes {resources.slice_min}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
