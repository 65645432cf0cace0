"""
Detect: lesions in the scans that have lesion labels (Table 5).

Input: the crop store and a model. Output: anomaly maps; nnU-Net's probability maps; a table of metrics.
"""


rule anomaly_maps:
    """Write the anomaly maps at every timestep of Table 5."""
    input:
        weights=f"{OUT}/models/meddiff-fm/model.safetensors",
        config=f"{OUT}/models/meddiff-fm/config.json",
        store=STORE,
    output:
        f"{OUT}/anomaly/maps/index.tsv",
    log:
        f"{LOGS}/detect/maps.log",
    benchmark:
        f"{BENCHMARKS}/detect/maps.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=CONFIG.machine.gpus,
    params:
        reads=stage_reads("anomaly"),
        config=stage_config("anomaly"),
        model=subpath(input.weights, parent=True),
        out=subpath(output[0], parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff anomaly-maps --config {params.config:q} --model {params.model:q} {params.store:q}"
        " --out {params.out:q} --index {output:q} --threads {threads} 2>&1 | tee {log:q}"


rule supervised:
    """Train nnU-Net on the training scans with lesions and predict the others; a stopped training goes on."""
    input:
        store=STORE,
    output:
        f"{OUT}/anomaly/supervised/done.json",
    log:
        f"{LOGS}/detect/supervised.log",
    benchmark:
        f"{BENCHMARKS}/detect/supervised.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=64000,
        runtime=TRAINING_RUNTIME_MIN,
        gpu=1,
    params:
        reads=stage_reads("supervised"),
        config=stage_config("supervised"),
        work=f"{OUT}/runs/nnunet",
        out=subpath(output[0], parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff supervised --config {params.config:q} {params.store:q} --work {params.work:q}"
        " --out {params.out:q} --done {output:q} 2>&1 | tee {log:q}"


rule score_anomaly:
    """Score maps, intensity alone and nnU-Net with the same code; a stopped job goes on with the next scan."""
    input:
        maps=f"{OUT}/anomaly/maps/index.tsv",
        supervised=f"{OUT}/anomaly/supervised/done.json",
        store=STORE,
    output:
        f"{OUT}/metrics/anomaly.csv",
    log:
        f"{LOGS}/detect/score.log",
    benchmark:
        f"{BENCHMARKS}/detect/score.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=32000,
        runtime=240,
    params:
        reads=stage_reads("score-anomaly"),
        config=stage_config("score-anomaly"),
        out=f"{OUT}/anomaly/scores",
        maps=subpath(input.maps, parent=True),
        probabilities=subpath(input.supervised, parent=True),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff score-anomaly --config {params.config:q} {params.store:q} --maps {params.maps:q}"
        " --probabilities {params.probabilities:q} --out {params.out:q} --metrics {output:q} --threads {threads} 2>&1 | tee {log:q}"
