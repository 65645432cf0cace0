"""
Tables: Tables 1 to 6, those of augmentation and those of v3 beside the paper's values.

Input: the manifest, the preparation's indices and the metrics. Output: CSV, Markdown and LaTeX.
"""


rule tables:
    """Write the tables; a row without data says so."""
    input:
        manifest="<results>/data/manifest.tsv",
        prepared=expand(
            "<results>/data/{stage}/shard-{shard}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        metrics=expand("<results>/metrics/{method}.csv", method=METHODS),
        features=expand("<results>/metrics/{method}.npz", method=METHODS),
        source="<results>/models/extractor/source.json",
        denoising=expand(
            "<results>/metrics/denoise/{denoiser}.csv",
            denoiser=[*PACKAGE["filters"], *PACKAGE["denoising_networks"]],
        ),
        anomaly="<results>/metrics/score_anomaly.csv",
        lesions=expand(
            "<results>/metrics/{kind}/{dataset}.csv",
            kind=["judge_lesions", "augment_lesions"],
            dataset=LESION_DATASETS,
        ),
        super_resolution=expand(
            "<results>/metrics/super_resolve/{resolver}.csv",
            resolver=PACKAGE["super_resolvers"],
        ),
    output:
        [file for each in PACKAGE["tables"] for file in table(**each)],
    log:
        "<logs>/tables.log",
    benchmark:
        "<benchmarks>/tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        reads=stage_reads("tables"),
        config=configuration,
        results=subpath(output[0], ancestor=2),
    shell:
        "python -m meddiff stage tables"
        " --config {params.config:q}"
        " --results {params.results:q}"
        " 2>&1 | tee {log:q}"
