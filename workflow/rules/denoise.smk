"""
Denoise: the test pairs with every method of Table 4.

Input: the pairs, a model, RED-CNN. Output: per method a table of metrics, and the denoised scans.
"""


rule denoise:
    """Denoise with one method; what it is told of the noise is measured on other scans than those that are scored."""
    input:
        pairs=f"{OUT}/denoising/pairs/index.tsv",
        store=STORE,
        weights=f"{OUT}/models/meddiff-fm/model.safetensors",
        config=f"{OUT}/models/meddiff-fm/config.json",
        red_cnn=f"{OUT}/models/red-cnn/source.json",
    output:
        metrics=f"{OUT}/metrics/denoising/{{denoiser}}.csv",
        index=f"{OUT}/denoising/{{denoiser}}/index.tsv",
    log:
        f"{LOGS}/denoise/{{denoiser}}.log",
    benchmark:
        f"{BENCHMARKS}/denoise/{{denoiser}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: 16 if wildcards.denoiser.startswith(("meddiff", "red")) else 1
    resources:
        mem_mb=32000,
        runtime=720,
        gpu=lambda wildcards: int(wildcards.denoiser.startswith(("meddiff", "red"))),
    params:
        config=stage_config("denoise"),
        model=subpath(input.weights, parent=True),
        red_cnn=subpath(input.red_cnn, parent=True),
        out=subpath(output.index, parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff denoise-pairs --config {params.config:q} --method {wildcards.denoiser} --pairs {input.pairs:q}"
        " {params.store:q} --model {params.model:q} --red-cnn {params.red_cnn:q} --out {params.out:q}"
        " --index {output.index:q} --metrics {output.metrics:q} --threads {threads} 2>&1 | tee {log:q}"
