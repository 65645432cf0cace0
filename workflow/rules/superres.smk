"""
Superres: thin slices out of thick ones, by interpolation, by ControlNet, and with DiffPIR (v3).

Input: the manifest, the resampled scans, the crop store, the fine-tuned model. Output: thick scans; per method a table
of metrics and the thin slices.
"""


rule thick_slices:
    """Pair test scans with thick slices, or simulate these; label the anatomy of the thick ones."""
    input:
        weights="<results>/models/anatomy/source.json",
        manifest="<results>/data/manifest.tsv",
        resampled=expand("<results>/data/resample/shard-{shard}.tsv", shard=SHARDS),
        store=STORE,
    output:
        "<results>/thick_slices/index.tsv",
    log:
        "<logs>/thick_slices.log",
    benchmark:
        "<benchmarks>/thick_slices.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("thick_slices"),
        config=configuration,
        resampled=options("resampled"),
    shell:
        "python -m meddiff stage thick_slices"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " {params.resampled:q}"
        " --store {input.store:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"


rule measured_slices:
    """Bring the thick slices of training scans, where a dataset has them, onto the voxels of their regions."""
    input:
        manifest="<results>/data/manifest.tsv",
        store=STORE,
    output:
        "<results>/measured_slices/index.tsv",
    log:
        "<logs>/measured_slices.log",
    benchmark:
        "<benchmarks>/measured_slices.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        reads=stage_reads("measured_slices"),
        config=configuration,
    shell:
        "python -m meddiff stage measured_slices"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " --store {input.store:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"


rule super_resolve:
    """Make thin slices with one method and compare them with the true ones."""
    input:
        thick="<results>/thick_slices/index.tsv",
        foundation="<results>/models/meddiff-fm/model.safetensors",
        control="<results>/models/super-resolution/control.safetensors",
        store=STORE,
    output:
        metrics="<results>/metrics/super_resolve/{resolver}.csv",
        index="<results>/super_resolve/{resolver}/index.tsv",
    log:
        "<logs>/super_resolve/{resolver}.log",
    benchmark:
        "<benchmarks>/super_resolve/{resolver}.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=SAMPLING_GPUS,
    params:
        reads=stage_reads("super_resolve"),
        config=configuration,
        model=subpath(input.foundation, parent=True),
        control=subpath(input.control, parent=True),
    shell:
        "python -m meddiff stage super_resolve"
        " --config {params.config:q}"
        " --method {wildcards.resolver}"
        " --thick {input.thick:q}"
        " --store {input.store:q}"
        " --model {params.model:q}"
        " --control {params.control:q}"
        " --index {output.index:q}"
        " --metrics {output.metrics:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
