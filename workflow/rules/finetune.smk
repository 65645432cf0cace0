"""
Finetune: ControlNets for lesions and for super-resolution (section 3.2, Eq. 2).

Input: the foundation model and the crop store. Output: a ControlNet's bundle; its checkpoints lie in runs/.
"""


rule finetune_lesions:
    """Train on one lesion dataset, with the pretrained weights or from scratch; a stopped one goes on."""
    input:
        foundation=f"{OUT}/models/meddiff-fm/model.safetensors",
        store=STORE,
    output:
        weights=f"{OUT}/models/lesions/{{dataset}}/{{origin}}/control.safetensors",
        config=f"{OUT}/models/lesions/{{dataset}}/{{origin}}/config.json",
    log:
        f"{LOGS}/finetune/{{dataset}}-{{origin}}.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{{dataset}}-{{origin}}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        **TRAINING_GPUS,
        mem_mb=32000,
        runtime=TRAINING_RUNTIME_MIN,
        slice_min=TRAINING_SLICE_MIN,
    params:
        reads=stage_reads("finetune-lesions"),
        config=stage_config("finetune-lesions"),
        model=subpath(input.foundation, parent=True),
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
        launcher=launcher,
    shell:
        "{params.launcher} meddiff finetune --config {params.config:q} --dataset {wildcards.dataset}"
        " --origin {wildcards.origin} --model {params.model:q} {params.store:q} --runs {params.runs:q}"
        " --out {params.out:q} --max-minutes {resources.slice_min} --threads {threads} 2>&1 | tee {log:q}"


rule finetune_super_resolution:
    """Train on RPLHR-CT's own pairs, or on regions of the pretraining and their means; a stopped one goes on."""
    input:
        foundation=f"{OUT}/models/meddiff-fm/model.safetensors",
        measured=MEASURED_SLICES,
        store=STORE,
    output:
        weights=f"{OUT}/models/super-resolution/control.safetensors",
        config=f"{OUT}/models/super-resolution/config.json",
    log:
        f"{LOGS}/finetune/super-resolution.log",
    benchmark:
        f"{BENCHMARKS}/finetune/super-resolution.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        **TRAINING_GPUS,
        mem_mb=32000,
        runtime=TRAINING_RUNTIME_MIN,
        slice_min=TRAINING_SLICE_MIN,
    params:
        reads=stage_reads("finetune-super-resolution"),
        config=stage_config("finetune-super-resolution"),
        model=subpath(input.foundation, parent=True),
        out=subpath(output.weights, parent=True),
        runs=f"{OUT}/runs",
        measured=lambda wildcards, input: [
            f"--measured={path}" for path in input.measured
        ],
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
        launcher=launcher,
    shell:
        "{params.launcher} meddiff finetune --config {params.config:q} --model {params.model:q}"
        " {params.measured:q} {params.store:q} --runs {params.runs:q} --out {params.out:q}"
        " --max-minutes {resources.slice_min} --threads {threads} 2>&1 | tee {log:q}"
