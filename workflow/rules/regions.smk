"""
Regions: head and neck, chest and abdomen (section 4.1).

Input: a shard's anatomy. Output: per shard an index; per case the boxes of its regions and why they were chosen.
"""


rule regions:
    """Split whole-body scans by TotalSegmentator's landmarks and cut every region to the body."""
    input:
        manifest=f"{OUT}/data/manifest.tsv",
        anatomy=f"{OUT}/data/anatomy/shard-{{shard}}.tsv",
    output:
        f"{OUT}/data/regions/shard-{{shard}}.tsv",
    log:
        f"{LOGS}/regions/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/regions/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        reads=stage_reads("regions"),
        config=stage_config("regions"),
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff regions --config {params.config:q} --manifest {input.manifest:q} --anatomy {input.anatomy:q}"
        " --out {params.out:q} --index {output:q} 2>&1 | tee {log:q}"
