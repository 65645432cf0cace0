"""
Demo weights: train the small TotalSegmentator weights anew. No other rule asks for this; the weights are in the package.

    snakemake --cores 8 train_anatomy
"""


rule train_anatomy:
    """Train the demo weights with nnU-Net on phantoms and the demo's two labelled scans."""
    input:
        "<results>/data/raw/demo-chest/SOURCE.json",
        "<results>/data/raw/demo-abdomen/SOURCE.json",
    output:
        multiext(
            "<results>/models/demo-anatomy/",
            "weights.safetensors",
            "plans.json",
            "dataset.json",
        ),
    log:
        "<logs>/train_anatomy.log",
    benchmark:
        "<benchmarks>/train_anatomy.tsv"
    conda:
        ENVIRONMENT
    threads: 16
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        reads=stage_reads("train-anatomy"),
        config=configuration,
        raw=subpath(input[0], ancestor=2),
        work=f"{OUT}/runs/demo-anatomy",
        out=subpath(output[0], parent=True),
    shell:
        "python -m meddiff train-anatomy --config {params.config:q} --raw {params.raw:q} --work {params.work:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"
