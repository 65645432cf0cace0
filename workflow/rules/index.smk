"""
Index: find the cases.

Input: the raw data of the demo or the phantoms; other datasets are read from their roots.
Output: the manifest, one row per case with image, region, split and shard. Beside it lie the counts of each dataset
against what is expected, the fingerprints by which a scan that is there twice is found, and the state of each root.
"""

from meddiff.datasets.roots import state_of
from meddiff.machine.files import read_json


def roots(wildcards):
    """
    Return the state of each dataset's root, so that a scan that is new, replaced or gone is a reason to index again.

    As inputs, the scans would be looked for one by one whenever the rules are read, each job of a cluster included, and
    the job could not be planned before there are any. A job that always ran would have all that follows it planned
    again each time, since only a checkpoint tells Snakemake that nothing has changed, and then it plans anew in the
    middle of a run. A parameter is asked for by the one Snakemake that plans, and costs a listing of each folder. Of a
    root that is away the last state counts: what has been prepared from it goes on without it.
    """
    file = Path(OUT) / "data" / "manifest.roots.json"
    last = read_json(file) if file.exists() else {}
    mine = [dataset for dataset in DATASETS if dataset.provider == "disk"]
    return [state_of(dataset) or last.get(dataset.name, "") for dataset in mine]


rule index:
    """Find the cases of all configured datasets; splits and shards are hashes of names, so new cases move no others."""
    input:
        [
            dataset.root / "SOURCE.json"
            for dataset in DATASETS
            if dataset.provider != "disk"
        ],
    output:
        f"{OUT}/data/manifest.tsv",
    log:
        f"{LOGS}/index.log",
    benchmark:
        f"{BENCHMARKS}/index.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reads=stage_reads("index"),
        config=stage_config("index"),
        raw=lambda wildcards: f"{OUT}/data/raw",
        roots=roots,
    shell:
        "python -m meddiff index --config {params.config:q} --raw {params.raw:q} --out {output:q} 2>&1 | tee {log:q}"
