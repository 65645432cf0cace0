"""
Resample: every scan at one isotropic spacing (section 4.1).

Input: the manifest. Output: per shard an index with a line per case; a case that is no readable CT is quarantined.
"""


rule resample:
    """Read a shard's scans and resample them, in LPS orientation and HU."""
    input:
        manifest="<results>/data/manifest.tsv",
    output:
        "<results>/data/resample/shard-{shard}.tsv",
    log:
        "<logs>/resample/{shard}.log",
    benchmark:
        "<benchmarks>/resample/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: SCAN_THREADS
    resources:
        mem_mb=16000,
        runtime=120,
    params:
        reads=stage_reads("resample"),
        config=configuration,
    shell:
        "python -m meddiff stage resample"
        " --config {params.config:q}"
        " --manifest {input.manifest:q}"
        " --shard {wildcards.shard}"
        " --index {output:q}"
        " --threads {threads}"
        " --memory-mb {resources.mem_mb}"
        " 2>&1 | tee {log:q}"
