"""
Quality control: a picture and numbers of every case, and a page to look through them.

Input: a shard's resampled scans, anatomy and boxes. Output: per shard an index, pictures and a table of HU and volumes;
over all shards a page, and a count of the scans that are used.
"""


rule qc:
    """Draw a shard's cases with their regions and anatomy, and measure HU and volumes."""
    input:
        manifest="<results>/data/manifest.tsv",
        resampled="<results>/data/resample/shard-{shard}.tsv",
        anatomy="<results>/data/anatomy/shard-{shard}.tsv",
        regions="<results>/data/regions/shard-{shard}.tsv",
    output:
        index="<results>/qc/shard-{shard}.tsv",
        statistics="<results>/qc/statistics-{shard}.tsv",
    log:
        "<logs>/qc/{shard}.log",
    benchmark:
        "<benchmarks>/qc/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        reads=stage_reads("qc"),
        config=configuration,
    shell:
        "python -m meddiff stage qc"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " --resampled {input.resampled:q}"
        " --anatomy {input.anatomy:q}"
        " --regions {input.regions:q}"
        " --index {output.index:q}"
        " --statistics {output.statistics:q}"
        " 2>&1 | tee {log:q}"


rule qc_page:
    """Write the page over all shards, with the quarantined cases and their reasons first."""
    input:
        manifest="<results>/data/manifest.tsv",
        prepared=expand(
            "<results>/data/{stage}/shard-{shard}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        checked=expand(
            "<results>/qc/{table}-{shard}.tsv",
            table=["shard", "statistics"],
            shard=SHARDS,
        ),
    output:
        page=report(
            "<results>/qc/index.html",
            caption="../report/quality.rst",
            category="Pages",
            labels={"page": "quality control"},
        ),
        statistics=report(
            "<results>/qc/statistics.tsv",
            caption="../report/quality.rst",
            category="Quality control",
            labels={"table": "HU and volumes"},
        ),
    log:
        "<logs>/qc_page.log",
    benchmark:
        "<benchmarks>/qc_page.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        reads=stage_reads("qc_page"),
        config=configuration,
        results=subpath(output.page, ancestor=2),
    shell:
        "python -m meddiff stage qc_page"
        " --config {params.config:q}"
        " --results {params.results:q}"
        " 2>&1 | tee {log:q}"


rule cohort:
    """Count the scans of each dataset that are used; fails where a dataset has none, after the page that says why."""
    input:
        manifest="<results>/data/manifest.tsv",
        prepared=expand(
            "<results>/data/{stage}/shard-{shard}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        page="<results>/qc/index.html",
    output:
        report(
            "<results>/qc/cohort.tsv",
            caption="../report/quality.rst",
            category="Quality control",
            labels={"table": "scans of each dataset that are used"},
        ),
    log:
        "<logs>/cohort.log",
    benchmark:
        "<benchmarks>/cohort.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        reads=stage_reads("cohort"),
        results=subpath(output[0], ancestor=2),
    shell:
        "python -m meddiff stage cohort"
        " --results {params.results:q}"
        " --out {output:q}"
        " 2>&1 | tee {log:q}"
