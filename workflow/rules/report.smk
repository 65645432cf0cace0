"""
Report: tables, pictures, quarantined cases and provenance on one page, and all synthetic scans on another.

Input: the tables, the models, the synthetic scans and quality control's pictures. Output: a self-contained HTML file, and
a page that links the pictures of all synthetic scans.
"""


rule twins:
    """Draw the held-out scans beside what each model drew of their anatomy; a stopped job goes on."""
    input:
        synthetic=expand(
            "<results>/synthesize/{model}/shard-{shard}.tsv",
            model=MODELS,
            shard=SAMPLING_SHARDS,
        ),
        store=STORE,
    output:
        "<results>/figures/twins/index.tsv",
    log:
        "<logs>/twins.log",
    benchmark:
        "<benchmarks>/twins.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        reads=stage_reads("twins"),
        config=configuration,
        synthetic=[f"--synthetic={OUT}/synthesize/{model}" for model in MODELS],
    shell:
        "python -m meddiff stage twins"
        " --config {params.config:q}"
        " --store {input.store:q}"
        " {params.synthetic:q}"
        " --index {output:q}"
        " 2>&1 | tee {log:q}"


rule report:
    """Draw the pictures and write the report."""
    input:
        tables=TABLES,
        models=expand("<results>/models/{model}/config.json", model=MODELS),
        twins="<results>/figures/twins/index.tsv",
        checked=expand("<results>/qc/shard-{shard}.tsv", shard=SHARDS),
        store=STORE,
    output:
        page=report(
            "<results>/report/index.html",
            caption="../report/page.rst",
            category="Pages",
            labels={"page": "report"},
        ),
        twins="<results>/report/twins.html",
        provenance="<results>/provenance.json",
        figures=[figure(**each) for each in PACKAGE["figures"]],
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        reads=stage_reads("report"),
        config=configuration,
        results=subpath(output.page, ancestor=2),
    shell:
        "python -m meddiff stage report"
        " --config {params.config:q}"
        " --results {params.results:q}"
        " --store {input.store:q}"
        " 2>&1 | tee {log:q}"
