"""
Denoise: the test pairs with every method of Table 4.

Input: the pairs; for networks, a model. Output: weights of the baselines; per method a table of metrics, and the
denoised scans.
"""


rule train_denoiser:
    """Train RED-CNN, MAP-NN or Noise2Sim on the training pairs; without any, say so."""
    input:
        pairs="<results>/low_dose/index.tsv",
    output:
        "<results>/models/{denoiser}/source.json",
    log:
        "<logs>/train_denoiser/{denoiser}.log",
    benchmark:
        "<benchmarks>/train_denoiser/{denoiser}.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=TRAINING_RUNTIME_MIN,
        slice_min=TRAINING_SLICE_MIN,
        gpu=ONE_GPU,
    params:
        reads=lambda wildcards: stage_reads("train_denoiser", wildcards.denoiser),
        config=configuration,
        out=subpath(output[0], parent=True),
        runs=f"{OUT}/runs",
    shell:
        "python -m meddiff stage train_denoiser {wildcards.denoiser}"
        " --config {params.config:q}"
        " --pairs {input.pairs:q}"
        " --runs {params.runs:q}"
        " --out {params.out:q}"
        " --max-minutes {resources.slice_min}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule filter_pairs:
    """Denoise with all methods that have no network; the strength of each is tuned on other scans than the scored."""
    input:
        pairs="<results>/low_dose/index.tsv",
    output:
        metrics=expand(
            "<results>/metrics/denoise/{method}.csv", method=PACKAGE["filters"]
        ),
        index=expand("<results>/denoise/{method}/index.tsv", method=PACKAGE["filters"]),
    log:
        "<logs>/filter_pairs.log",
    benchmark:
        "<benchmarks>/filter_pairs.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=1380,
    params:
        reads=stage_reads("filter_pairs"),
        config=configuration,
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff stage filter_pairs"
        " --config {params.config:q}"
        " --pairs {input.pairs:q}"
        " --out {params.out:q}"
        " --metrics {params.metrics:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule denoise_pairs:
    """Denoise with all networks; what they are told of the noise is measured on other scans than the scored."""
    input:
        pairs="<results>/low_dose/index.tsv",
        weights="<results>/models/meddiff-fm/model.safetensors",
        config="<results>/models/meddiff-fm/config.json",
        trained=expand(
            "<results>/models/{denoiser}/source.json",
            denoiser=PACKAGE["trained_denoisers"],
        ),
    output:
        metrics=expand(
            "<results>/metrics/denoise/{method}.csv",
            method=PACKAGE["denoising_networks"],
        ),
        index=expand(
            "<results>/denoise/{method}/index.tsv",
            method=PACKAGE["denoising_networks"],
        ),
    log:
        "<logs>/denoise_pairs.log",
    benchmark:
        "<benchmarks>/denoise_pairs.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("denoise_pairs"),
        config=configuration,
        model=subpath(input.weights, parent=True),
        trained=lambda wildcards, input: Path(input.trained[0]).parents[1],
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff stage denoise_pairs"
        " --config {params.config:q}"
        " --pairs {input.pairs:q}"
        " --model {params.model:q}"
        " --trained {params.trained:q}"
        " --out {params.out:q}"
        " --metrics {params.metrics:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
