"""
Denoise: the test pairs with every method of Table 4.

Input: the pairs; for networks, a model and the trained denoisers. Output: per method a table of metrics, and the denoised scans.
"""


rule filter:
    """Denoise with all methods that have no network; the strength of each is tuned on other scans than the scored."""
    input:
        pairs="<results>/denoising/pairs/index.tsv",
    output:
        metrics=expand(
            "<results>/metrics/denoising/{method}.csv", method=PACKAGE["filters"]
        ),
        index=expand(
            "<results>/denoising/{method}/index.tsv", method=PACKAGE["filters"]
        ),
    log:
        "<logs>/denoise/filters.log",
    benchmark:
        "<benchmarks>/denoise/filters.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
    params:
        reads=stage_reads("filter"),
        config=configuration,
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff filter-pairs --config {params.config:q} --pairs {input.pairs:q}"
        " --out {params.out:q} --metrics {params.metrics:q} --threads {threads} 2>&1 | tee {log:q}"


rule denoise:
    """Denoise with all networks; what they are told of the noise is measured on other scans than the scored."""
    input:
        pairs="<results>/denoising/pairs/index.tsv",
        weights="<results>/models/meddiff-fm/model.safetensors",
        config="<results>/models/meddiff-fm/config.json",
        trained=expand(
            "<results>/models/{denoiser}/source.json",
            denoiser=PACKAGE["trained_denoisers"],
        ),
    output:
        metrics=expand(
            "<results>/metrics/denoising/{method}.csv",
            method=PACKAGE["denoising_networks"],
        ),
        index=expand(
            "<results>/denoising/{method}/index.tsv",
            method=PACKAGE["denoising_networks"],
        ),
    log:
        "<logs>/denoise/networks.log",
    benchmark:
        "<benchmarks>/denoise/networks.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=1,
    params:
        reads=stage_reads("denoise"),
        config=configuration,
        model=subpath(input.weights, parent=True),
        trained=lambda wildcards, input: Path(input.trained[0]).parents[1],
        out=lambda wildcards, output: Path(output.index[0]).parents[1],
        metrics=lambda wildcards, output: Path(output.metrics[0]).parent,
    shell:
        "python -m meddiff denoise-pairs --config {params.config:q} --pairs {input.pairs:q}"
        " --model {params.model:q} --trained {params.trained:q} --out {params.out:q} --metrics {params.metrics:q}"
        " --threads {threads} 2>&1 | tee {log:q}"
