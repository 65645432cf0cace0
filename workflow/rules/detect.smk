"""
Detect: lesions in the scans that have lesion labels (Table 5).

Input: the crop store and a model. Output: anomaly maps; nnU-Net's probability maps; a table of metrics.
"""


rule anomaly_maps:
    """Write the anomaly maps at every timestep of Table 5."""
    input:
        weights="<results>/models/meddiff-fm/model.safetensors",
        config="<results>/models/meddiff-fm/config.json",
        store=STORE,
    output:
        "<results>/anomaly_maps/index.tsv",
    log:
        "<logs>/anomaly_maps.log",
    benchmark:
        "<benchmarks>/anomaly_maps.tsv"
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=32000,
        runtime=1380,
        gpu=SAMPLING_GPUS,
    params:
        reads=stage_reads("anomaly_maps"),
        config=configuration,
        model=subpath(input.weights, parent=True),
    shell:
        "python -m meddiff stage anomaly_maps"
        " --config {params.config:q}"
        " --model {params.model:q}"
        " --store {input.store:q}"
        " --index {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"


rule supervised:
    """Train nnU-Net on the training scans with lesions and predict the others; a stopped training goes on."""
    input:
        store=STORE,
    output:
        "<results>/supervised/done.json",
    log:
        "<logs>/supervised.log",
    benchmark:
        "<benchmarks>/supervised.tsv"
    retries: TRAINING_RETRIES
    conda:
        ENVIRONMENT
    threads: NETWORK_THREADS
    resources:
        mem_mb=64000,
        runtime=TRAINING_RUNTIME_MIN,
        gpu=ONE_GPU,
    params:
        reads=stage_reads("supervised"),
        config=configuration,
        work=f"{OUT}/runs/nnunet",
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff stage supervised"
        " --config {params.config:q}"
        " --store {input.store:q}"
        " --work {params.work:q}"
        " --out {params.out:q}"
        " --done {output:q}"
        " 2>&1 | tee {log:q}"


rule score_anomaly:
    """Score maps, intensity alone and nnU-Net with the same code; a stopped job goes on with the next scan."""
    input:
        maps="<results>/anomaly_maps/index.tsv",
        supervised="<results>/supervised/done.json",
        store=STORE,
    output:
        "<results>/metrics/score_anomaly.csv",
    log:
        "<logs>/score_anomaly.log",
    benchmark:
        "<benchmarks>/score_anomaly.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=32000,
        runtime=240,
    params:
        reads=stage_reads("score_anomaly"),
        config=configuration,
        out=f"{OUT}/score_anomaly",
        maps=subpath(input.maps, parent=True),
        probabilities=subpath(input.supervised, parent=True),
    shell:
        "python -m meddiff stage score_anomaly"
        " --config {params.config:q}"
        " --store {input.store:q}"
        " --maps {params.maps:q}"
        " --probabilities {params.probabilities:q}"
        " --out {params.out:q}"
        " --metrics {output:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q}"
