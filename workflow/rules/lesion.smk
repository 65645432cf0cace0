"""
Lesion: generated and inpainted lesions of the test patients, and what nnU-Net makes of them (Table 6).

Input: the crop store, the fine-tuned models, and the nnU-Net that the rule `supervised` trains. Output: patches with
lesions; per dataset a table of metrics, feature vectors and the augmentation study.
"""


rule draw_lesions:
    """Generate every test lesion's patch, and inpaint the lesion into the scan's own patch."""
    input:
        foundation="<results>/models/meddiff-fm/model.safetensors",
        control="<results>/models/lesions/{dataset}/{origin}/control.safetensors",
        store=STORE,
    output:
        "<results>/draw_lesions/{dataset}/{origin}/index.tsv",
    log:
        "<logs>/draw_lesions/{dataset}-{origin}.log",
    benchmark:
        "<benchmarks>/draw_lesions/{dataset}-{origin}.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=SAMPLING_GPUS,
    params:
        reads=stage_reads("draw_lesions"),
        config=configuration,
        model=lambda wildcards: (
            f"{OUT}/models/lesions/{wildcards.dataset}/scratch/foundation"
            if wildcards.origin == "scratch"
            else f"{OUT}/models/meddiff-fm"
        ),
        control=subpath(input.control, parent=True),
    shell:
        "python -m meddiff stage draw_lesions"
        " --config {params.config:q}"
        " --dataset {wildcards.dataset}"
        " --model {params.model:q}"
        " --control {params.control:q}"
        " --store {input.store:q}"
        " --index {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule judge_lesions:
    """Score real, generated and inpainted lesions: Dice of nnU-Net, similarity, features."""
    input:
        drawn=expand(
            "<results>/draw_lesions/{{dataset}}/{origin}/index.tsv",
            origin=PACKAGE["origins"],
        ),
        judge="<results>/supervised/done.json",
        weights="<results>/models/extractor/weights.safetensors",
        source="<results>/models/extractor/source.json",
        store=STORE,
    output:
        metrics="<results>/metrics/judge_lesions/{dataset}.csv",
        features="<results>/metrics/judge_lesions/{dataset}.npz",
    log:
        "<logs>/judge_lesions/{dataset}.log",
    benchmark:
        "<benchmarks>/judge_lesions/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("judge_lesions"),
        config=configuration,
        drawn=lambda wildcards, input: [
            f"--drawn={Path(path).parent}" for path in input.drawn
        ],
        work=f"{OUT}/runs/nnunet",
        out=f"{OUT}/judge_lesions/{{dataset}}",
    shell:
        "python -m meddiff stage judge_lesions"
        " --config {params.config:q}"
        " --dataset {wildcards.dataset}"
        " --store {input.store:q}"
        " {params.drawn:q}"
        " --work {params.work:q}"
        " --extractor {input.weights:q}"
        " --extractor-source {input.source:q}"
        " --out {params.out:q}"
        " --metrics {output.metrics:q}"
        " --features {output.features:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule augment_lesions:
    """Train nnU-Net on real and generated lesions for as many steps as on the real ones; a stopped training goes on."""
    input:
        foundation="<results>/models/meddiff-fm/model.safetensors",
        control="<results>/models/lesions/{dataset}/fine-tune/control.safetensors",
        real="<results>/supervised/done.json",
        store=STORE,
    output:
        "<results>/metrics/augment_lesions/{dataset}.csv",
    log:
        "<logs>/augment_lesions/{dataset}.log",
    benchmark:
        "<benchmarks>/augment_lesions/{dataset}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=64000,
        runtime=TRAINING_RUNTIME_MIN,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("augment_lesions"),
        config=configuration,
        model=subpath(input.foundation, parent=True),
        control=subpath(input.control, parent=True),
        work=f"{OUT}/runs/nnunet",
        out=f"{OUT}/augment_lesions/{{dataset}}",
    shell:
        "python -m meddiff stage augment_lesions"
        " --config {params.config:q}"
        " --dataset {wildcards.dataset}"
        " --model {params.model:q}"
        " --control {params.control:q}"
        " --store {input.store:q}"
        " --work {params.work:q}"
        " --out {params.out:q}"
        " --metrics {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
