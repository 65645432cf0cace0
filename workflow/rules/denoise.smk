"""
Denoise: the test pairs with every method of Table 4.

Input: the pairs; for networks, a model and the trained denoisers. Output: per method a table of metrics, and the denoised scans.
"""


rule filter:
    """Denoise with all methods that have no network; the strength of each is tuned on other scans than the scored."""
    input:
        pairs=f"{OUT}/denoising/pairs/index.tsv",
    output:
        metrics=expand(f"{OUT}/metrics/denoising/{{method}}.csv", method=FILTERS),
        index=expand(f"{OUT}/denoising/{{method}}/index.tsv", method=FILTERS),
    log:
        f"{LOGS}/denoise/filters.log",
    benchmark:
        f"{BENCHMARKS}/denoise/filters.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
    params:
        reads=stage_reads("filter"),
        config=stage_config("filter"),
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff filter-pairs --config {params.config:q} --pairs {input.pairs:q}"
        " --out {params.out:q} --metrics {params.metrics:q} --threads {threads} 2>&1 | tee {log:q}"


rule denoise:
    """Denoise with all networks; what they are told of the noise is measured on other scans than the scored."""
    input:
        pairs=f"{OUT}/denoising/pairs/index.tsv",
        weights=f"{OUT}/models/meddiff-fm/model.safetensors",
        config=f"{OUT}/models/meddiff-fm/config.json",
        trained=expand(
            f"{OUT}/models/{{denoiser}}/source.json", denoiser=TRAINED_DENOISERS
        ),
    output:
        metrics=expand(
            f"{OUT}/metrics/denoising/{{method}}.csv", method=DENOISING_NETWORKS
        ),
        index=expand(f"{OUT}/denoising/{{method}}/index.tsv", method=DENOISING_NETWORKS),
    log:
        f"{LOGS}/denoise/networks.log",
    benchmark:
        f"{BENCHMARKS}/denoise/networks.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=1,
    params:
        reads=stage_reads("denoise"),
        config=stage_config("denoise"),
        model=subpath(input.weights, parent=True),
        trained=lambda wildcards, input: Path(input.trained[0]).parents[1],
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff denoise-pairs --config {params.config:q} --pairs {input.pairs:q}"
        " --model {params.model:q} --trained {params.trained:q} --out {params.out:q} --metrics {params.metrics:q}"
        " --threads {threads} 2>&1 | tee {log:q}"
