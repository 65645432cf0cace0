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
        "<results>/lesions/{dataset}/{origin}/index.tsv",
    log:
        "<logs>/lesion/draw-{dataset}-{origin}.log",
    benchmark:
        "<benchmarks>/lesion/draw-{dataset}-{origin}.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=MACHINE["gpus"],
    params:
        reads=stage_reads("lesions"),
        config=configuration,
        model=lambda wildcards: (
            f"{OUT}/models/lesions/{wildcards.dataset}/scratch/foundation"
            if wildcards.origin == "scratch"
            else f"{OUT}/models/meddiff-fm"
        ),
        control=subpath(input.control, parent=True),
        out=subpath(output[0], parent=True),
        store=options("store"),
    shell:
        "python -m meddiff draw-lesions --config {params.config:q} --dataset {wildcards.dataset}"
        " --model {params.model:q} --control {params.control:q} {params.store:q} --out {params.out:q}"
        " --index {output:q} --threads {threads} 2>&1 | tee {log:q}"


rule judge_lesions:
    """Score real, generated and inpainted lesions: Dice of nnU-Net, similarity, features."""
    input:
        drawn=expand(
            "<results>/lesions/{{dataset}}/{origin}/index.tsv",
            origin=PACKAGE["origins"],
        ),
        judge="<results>/anomaly/supervised/done.json",
        weights="<results>/models/extractor/weights.safetensors",
        source="<results>/models/extractor/source.json",
        store=STORE,
    output:
        metrics="<results>/metrics/lesions/{dataset}.csv",
        features="<results>/metrics/lesions/{dataset}.npz",
    log:
        "<logs>/lesion/judge-{dataset}.log",
    benchmark:
        "<benchmarks>/lesion/judge-{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("judge-lesions"),
        config=configuration,
        drawn=lambda wildcards, input: [
            f"--drawn={Path(path).parent}" for path in input.drawn
        ],
        store=options("store"),
        work=f"{OUT}/runs/nnunet",
        out=f"{OUT}/lesions/{{dataset}}/judged",
    shell:
        "python -m meddiff judge-lesions --config {params.config:q} --dataset {wildcards.dataset} {params.store:q}"
        " {params.drawn:q} --work {params.work:q} --extractor {input.weights:q} --extractor-source {input.source:q}"
        " --out {params.out:q} --metrics {output.metrics:q} --features {output.features:q} --threads {threads}"
        " 2>&1 | tee {log:q}"


rule augment_lesions:
    """Train nnU-Net on real and generated lesions for as many steps as on the real ones; a stopped training goes on."""
    input:
        foundation="<results>/models/meddiff-fm/model.safetensors",
        control="<results>/models/lesions/{dataset}/fine-tune/control.safetensors",
        real="<results>/anomaly/supervised/done.json",
        store=STORE,
    output:
        "<results>/metrics/augmentation/{dataset}.csv",
    log:
        "<logs>/lesion/augment-{dataset}.log",
    benchmark:
        "<benchmarks>/lesion/augment-{dataset}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=64000,
        runtime=TRAINING_RUNTIME_MIN,
        gpu=1,
    params:
        reads=stage_reads("augment-lesions"),
        config=configuration,
        model=subpath(input.foundation, parent=True),
        control=subpath(input.control, parent=True),
        store=options("store"),
        work=f"{OUT}/runs/nnunet",
        out=f"{OUT}/lesions/{{dataset}}/augmentation",
    shell:
        "python -m meddiff augment-lesions --config {params.config:q} --dataset {wildcards.dataset}"
        " --model {params.model:q} --control {params.control:q} {params.store:q} --work {params.work:q}"
        " --out {params.out:q} --metrics {output:q} --threads {threads} 2>&1 | tee {log:q}"
