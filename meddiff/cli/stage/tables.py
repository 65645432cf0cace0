"""`tables`: turn metrics into the paper's tables."""

import typer

from meddiff.cli.options import ConfigFile, ResultsFolder, stage_config


def tables(config: ConfigFile, results: ResultsFolder) -> None:
    """Write Tables 1 to 6, those of augmentation and those of v3 as CSV, Markdown and LaTeX."""
    import numpy as np
    import pandas as pd

    from meddiff.config import DENOISERS, SUPER_RESOLVERS
    from meddiff.datasets.index import read_manifest
    from meddiff.metrics.common_cases import common_cases, common_ids
    from meddiff.metrics.files import read_metrics
    from meddiff.report import table1, table2, table3, table4, table5, table6, table_sr, table_v3
    from meddiff.report.layout import Results, made_with, scans_and_anatomy
    from meddiff.report.tables import write_table

    settings, layout = stage_config(config, "tables"), Results(results)
    cases = read_manifest(layout.manifest)
    first = table1.table1(settings.data, cases, layout.prepared)
    write_table(first, table1.METRICS, layout.tables / "table1", table1.CAPTION)

    second = table2.table2(settings.data, cases, layout.prepared)
    write_table(second, table2.METRICS, layout.tables / "table2", table2.CAPTION)

    methods = [*(variant.name for variant in settings.models), "real"]
    scores = {name: pd.read_csv(layout.metrics(name)) for name in methods}
    features = {name: np.load(layout.features(name))["features"] for name in methods}
    note = made_with(settings, cases, layout.extractor_source)
    draws = settings.evaluation.bootstrap_draws
    common = common_cases("Table 3", scores)
    features = {name: vectors[common.rows(scores[name])] for name, vectors in features.items()}
    scores = common.select(scores)
    third = table3.table3(scores, features, draws, note + common.note)
    write_table(third, table3.METRICS, layout.tables / "table3", table3.CAPTION)
    steps = table_v3.ablation(third)
    write_table(steps, table_v3.ABLATION_METRICS, layout.tables / "table3_ablation", table_v3.ABLATION_CAPTION)
    organs = table3.organ_table(scores, draws, note + common.note)
    write_table(organs, table3.ORGAN_METRICS, layout.tables / "table3_organs", table3.ORGANS_CAPTION)

    source = scans_and_anatomy(settings, cases)
    denoised = {name: read_metrics(layout.denoising_metrics(name)) for name in DENOISERS}
    common = common_cases("Table 4", denoised)
    fourth = table4.table4(common.select(denoised), draws, source + common.note)
    write_table(fourth, table4.METRICS, layout.tables / "table4", table4.CAPTION)
    fifth = table5.table5(read_metrics(layout.anomaly_metrics), source)
    write_table(fifth, table5.METRICS, layout.tables / "table5", table5.CAPTION)

    bmad = table_v3.bmad_liver()
    write_table(bmad, table_v3.BMAD_METRIC_NAMES, layout.tables / "table5_bmad", table_v3.BMAD_CAPTION)

    datasets = [name for name in dict.fromkeys(case.dataset for case in cases if case.lesion)]
    lesions = {name: read_metrics(layout.lesion_metrics(name)) for name in datasets}
    vectors = {name: np.load(layout.lesion_metrics(name).with_suffix(".npz"))["features"] for name in datasets}
    missing = ""
    for name, rows in lesions.items():
        groups = rows.groupby(["origin", "kind"]) if len(rows) else ()
        common = common_ids(f"Table 6, {name},", {" ".join(map(str, key)): group["id"] for key, group in groups})
        lesions[name], vectors[name] = rows[common.rows(rows)], vectors[name][common.rows(rows)]
        missing += common.note
    sixth = table6.table6(lesions, vectors, draws, note + missing)
    write_table(sixth, table6.METRICS, layout.tables / "table6", table6.CAPTION)
    study = table6.augmentation_table(
        {name: read_metrics(layout.augmentation_metrics(name)) for name in datasets}, draws, source
    )
    write_table(study, table6.AUGMENTATION_METRICS, layout.tables / "table6_augmentation", table6.AUGMENTATION_CAPTION)
    resolved = {name: read_metrics(layout.super_resolution_metrics(name)) for name in SUPER_RESOLVERS}
    common = common_cases("Super-resolution", resolved)
    thin = table_sr.table_sr(common.select(resolved), settings.super_resolution.factor, draws, source + common.note)
    write_table(thin, table_sr.METRICS, layout.tables / "table_sr", table_sr.CAPTION)
    typer.echo((layout.tables / "table3.md").read_text())
