"""
Tables: Tables 1 to 6, those of augmentation and those of v3 beside the paper's values.

Input: the manifest, the preparation's indices and the metrics. Output: CSV, Markdown and LaTeX.
"""


rule tables:
    """Write the tables; a row without data says so."""
    input:
        manifest=f"{OUT}/data/manifest.tsv",
        prepared=expand(
            f"{OUT}/data/{{stage}}/shard-{{shard}}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        metrics=expand(f"{OUT}/metrics/{{method}}.csv", method=METHODS),
        features=expand(f"{OUT}/metrics/{{method}}.npz", method=METHODS),
        source=f"{OUT}/models/extractor/source.json",
        denoising=expand(
            f"{OUT}/metrics/denoising/{{denoiser}}.csv", denoiser=DENOISERS
        ),
        anomaly=f"{OUT}/metrics/anomaly.csv",
        lesions=expand(
            f"{OUT}/metrics/{{kind}}/{{dataset}}.csv",
            kind=["lesions", "augmentation"],
            dataset=LESION_DATASETS,
        ),
        super_resolution=expand(
            f"{OUT}/metrics/super-resolution/{{resolver}}.csv",
            resolver=SUPER_RESOLVERS,
        ),
    output:
        multiext(f"{OUT}/tables/table1", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table2", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table3", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table3_organs", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table3_ablation", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table4", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table5", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table5_bmad", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table6", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table6_augmentation", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table_sr", ".csv", ".md", ".tex"),
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{BENCHMARKS}/tables.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        reads=stage_reads("tables"),
        config=stage_config("tables"),
        results=subpath(output[0], ancestor=2),
    shell:
        "python -m meddiff tables --config {params.config:q} --results {params.results:q} 2>&1 | tee {log:q}"
