"""
Tables: Table 1 and Table 3 beside the paper's values.

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
    output:
        multiext(f"{OUT}/tables/table1", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table3", ".csv", ".md", ".tex"),
        multiext(f"{OUT}/tables/table3_organs", ".csv", ".md", ".tex"),
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
        config=stage_config("tables"),
        results=subpath(output[0], ancestor=2),
    shell:
        "python -m meddiff tables --config {params.config:q} --results {params.results:q} 2>&1 | tee {log:q}"
