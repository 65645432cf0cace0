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
        table("table1", "1", "pretraining data"),
        table("table2", "2", "downstream data"),
        table("table3", "3", "synthetic scans"),
        table("table3_organs", "3, organs", "synthetic scans by organ"),
        table("table3_ablation", "III of v3", "ablation"),
        table("table4", "4", "denoising"),
        table("table5", "5", "anomaly detection"),
        table("table5_bmad", "BMAD, v3", "anomalies in livers"),
        table("table6", "6", "lesions"),
        table("table6_augmentation", "6, augmentation", "generated lesions in training"),
        table("table_sr", "super-resolution, v3", "super-resolution"),
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
