"""
Low dose: pairs of a noisy and a clean scan, and the baseline that learns from them (Table 4).

Input: the manifest, the resampled scans and the crop store. Output: an index of the pairs; RED-CNN's weights.
"""


rule low_dose:
    """Pair the scans of datasets that have low dose, or simulate it for a few of each split; segment the noisy ones."""
    input:
        weights=f"{OUT}/models/anatomy/source.json",
        manifest=f"{OUT}/data/manifest.tsv",
        resampled=expand(f"{OUT}/data/resample/shard-{{shard}}.tsv", shard=SHARDS),
        store=STORE,
    output:
        f"{OUT}/denoising/pairs/index.tsv",
    log:
        f"{LOGS}/low_dose.log",
    benchmark:
        f"{BENCHMARKS}/low_dose.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("low-dose"),
        config=stage_config("low-dose"),
        out=subpath(output[0], parent=True),
        resampled=lambda wildcards, input: [
            f"--resampled={path}" for path in input.resampled
        ],
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff low-dose --config {params.config:q} --manifest {input.manifest:q} {params.resampled:q}"
        " {params.store:q} --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"


rule red_cnn:
    """Train RED-CNN on the training pairs; without any, say so."""
    input:
        pairs=f"{OUT}/denoising/pairs/index.tsv",
    output:
        f"{OUT}/models/red-cnn/source.json",
    log:
        f"{LOGS}/red_cnn.log",
    benchmark:
        f"{BENCHMARKS}/red_cnn.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=1,
    params:
        reads=stage_reads("red-cnn"),
        config=stage_config("red-cnn"),
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff red-cnn --config {params.config:q} --pairs {input.pairs:q}"
        " --out {params.out:q} --threads {threads} 2>&1 | tee {log:q}"
