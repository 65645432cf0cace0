"""
Quality control: a picture and numbers of every case, and a page to look through them.

Input: a shard's resampled scans, anatomy and boxes. Output: per shard an index, pictures and a table of HU and volumes;
over all shards a page, and a count of the scans that are used.
"""


rule qc:
    """Draw a shard's cases with their regions and anatomy, and measure HU and volumes."""
    input:
        manifest=f"{OUT}/data/manifest.tsv",
        resampled=f"{OUT}/data/resample/shard-{{shard}}.tsv",
        anatomy=f"{OUT}/data/anatomy/shard-{{shard}}.tsv",
        regions=f"{OUT}/data/regions/shard-{{shard}}.tsv",
    output:
        index=f"{OUT}/qc/shard-{{shard}}.tsv",
        statistics=f"{OUT}/qc/statistics-{{shard}}.tsv",
    log:
        f"{LOGS}/qc/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/qc/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        reads=stage_reads("qc"),
        config=stage_config("qc"),
        out=f"{OUT}/qc/pictures",
    shell:
        "python -m meddiff qc --config {params.config:q} --manifest {input.manifest:q} --resampled {input.resampled:q}"
        " --anatomy {input.anatomy:q} --regions {input.regions:q} --out {params.out:q} --index {output.index:q}"
        " --statistics {output.statistics:q} 2>&1 | tee {log:q}"


rule qc_page:
    """Write the page over all shards, with the quarantined cases and their reasons first."""
    input:
        manifest=f"{OUT}/data/manifest.tsv",
        prepared=expand(
            f"{OUT}/data/{{stage}}/shard-{{shard}}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        checked=expand(
            f"{OUT}/qc/{{table}}-{{shard}}.tsv",
            table=["shard", "statistics"],
            shard=SHARDS,
        ),
    output:
        page=f"{OUT}/qc/index.html",
        statistics=f"{OUT}/qc/statistics.tsv",
    log:
        f"{LOGS}/qc-page.log",
    benchmark:
        f"{BENCHMARKS}/qc-page.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        reads=stage_reads("qc-page"),
        config=stage_config("qc-page"),
        results=subpath(output.page, ancestor=2),
    shell:
        "python -m meddiff qc-page --config {params.config:q} --results {params.results:q} 2>&1 | tee {log:q}"


rule cohort:
    """Count the scans of each dataset that are used; fails where a dataset has none, after the page that says why."""
    input:
        manifest=f"{OUT}/data/manifest.tsv",
        prepared=expand(
            f"{OUT}/data/{{stage}}/shard-{{shard}}.tsv",
            stage=["resample", "anatomy", "regions", "store"],
            shard=SHARDS,
        ),
        page=f"{OUT}/qc/index.html",
    output:
        f"{OUT}/qc/cohort.tsv",
    log:
        f"{LOGS}/cohort.log",
    benchmark:
        f"{BENCHMARKS}/cohort.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        reads=stage_reads("cohort"),
        config=stage_config("cohort"),
        results=subpath(output[0], ancestor=2),
    shell:
        "python -m meddiff cohort --config {params.config:q} --results {params.results:q} --out {output:q} 2>&1"
        " | tee {log:q}"
