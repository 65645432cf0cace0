"""
Report: tables, pictures, quarantined cases and provenance on one page.

Input: the tables, the models, the synthetic scans and quality control's pictures. Output: a self-contained HTML file.
"""


rule report:
    """Draw the pictures and write the report."""
    input:
        tables=[
            f"{OUT}/tables/{name}.csv"
            for name in (
                *("table1", "table2", "table3", "table3_organs", "table3_ablation"),
                *("table4", "table5", "table5_bmad"),
                *("table6", "table6_augmentation", "table_sr"),
            )
        ],
        models=expand(f"{OUT}/models/{{model}}/config.json", model=MODELS),
        synthetic=expand(
            f"{OUT}/synthesis/{{model}}/shard-{{shard}}.tsv",
            model=MODELS,
            shard=SAMPLING_SHARDS,
        ),
        checked=expand(f"{OUT}/qc/shard-{{shard}}.tsv", shard=SHARDS),
        store=STORE,
    output:
        page=f"{OUT}/report/index.html",
        provenance=f"{OUT}/provenance.json",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        reads=stage_reads("report"),
        config=stage_config("report"),
        results=subpath(output.page, ancestor=2),
        store=lambda wildcards, input: [f"--store={path}" for path in input.store],
    shell:
        "python -m meddiff report --config {params.config:q} --results {params.results:q} {params.store:q} 2>&1 | tee {log:q}"
