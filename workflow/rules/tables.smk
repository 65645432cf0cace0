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
            "<results>/metrics/denoising/{denoiser}.csv",
            denoiser=[*PACKAGE["filters"], *PACKAGE["denoising_networks"]],
        ),
        anomaly="<results>/metrics/anomaly.csv",
        lesions=expand(
            "<results>/metrics/{kind}/{dataset}.csv",
            kind=["lesions", "augmentation"],
            dataset=LESION_DATASETS,
        ),
        super_resolution=expand(
            "<results>/metrics/super-resolution/{resolver}.csv",
            resolver=PACKAGE["super_resolvers"],
        ),
    output:
        multiext("<results>/tables/table1", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table2", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table3", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table3_organs", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table3_ablation", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table4", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table5", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table5_bmad", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table6", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table6_augmentation", ".csv", ".md", ".tex"),
        multiext("<results>/tables/table_sr", ".csv", ".md", ".tex"),
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
        "python -m meddiff tables --config {params.config:q} --results {params.results:q} 2>&1 | tee {log:q}"
