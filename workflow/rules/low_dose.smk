"""
Low dose: pairs of a noisy and a clean scan, and the baselines that learn from them (Table 4).

Input: the manifest, the resampled scans and the crop store. Output: an index of the pairs; weights of the baselines.
"""


rule low_dose:
    """Pair the scans of datasets that have low dose, or simulate it for a few of each split; segment the noisy ones."""
    input:
        weights="<results>/models/anatomy/source.json",
        manifest="<results>/data/manifest.tsv",
        resampled=expand("<results>/data/resample/shard-{shard}.tsv", shard=SHARDS),
        store=STORE,
    output:
        "<results>/denoising/pairs/index.tsv",
    log:
        "<logs>/low_dose.log",
    benchmark:
        "<benchmarks>/low_dose.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("low-dose"),
        config=configuration,
        out=subpath(output[0], parent=True),
        resampled=options("resampled"),
        store=options("store"),
    shell:
        "python -m meddiff low-dose --config {params.config:q} --manifest {input.manifest:q} {params.resampled:q}"
        " {params.store:q} --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


rule train_denoiser:
    """Train RED-CNN, MAP-NN or Noise2Sim on the training pairs; without any, say so."""
    input:
        pairs="<results>/denoising/pairs/index.tsv",
    output:
        "<results>/models/{denoiser}/source.json",
    log:
        "<logs>/train_denoiser/{denoiser}.log",
    benchmark:
        "<benchmarks>/train_denoiser/{denoiser}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=TRAINING_RUNTIME_MIN,
        slice_min=TRAINING_SLICE_MIN,
        gpu=1,
    params:
        reads=lambda wildcards: stage_reads(wildcards.denoiser),
        config=configuration,
        out=subpath(output[0], parent=True),
        runs=f"{OUT}/runs",
    shell:
        "python -m meddiff train-denoiser {wildcards.denoiser} --config {params.config:q} --pairs {input.pairs:q}"
        " --runs {params.runs:q} --out {params.out:q} --max-minutes {resources.slice_min} --threads {threads}"
        " 2>&1 | tee {log:q}"
