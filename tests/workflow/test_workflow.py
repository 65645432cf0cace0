"""The whole workflow on phantoms, with bad inputs among the good ones."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import yaml
from typer.main import get_command

from meddiff.cli.main import app
from meddiff.config import DENOISERS, SUPER_RESOLVERS, SUPERVISED
from meddiff.config.stages import STAGES
from meddiff.demo.phantom import make_phantom
from meddiff.machine.locks import locked
from meddiff.report.all_figures import FIGURES
from meddiff.stages.detect import INTENSITY
from meddiff.volumes.volumes import from_zyx, write_image
from tests.phantom_run import (
    ROOT,
    THREADS,
    keep_tables,
    snakemake,
    undisturbed_tables,
    write_bad_inputs,
    write_config,
)
from tests.workflow.deployed import FEW_SECONDS, deploy

CORES = ("--cores", 2, "--resources", "gpu=2", "--max-threads", THREADS)
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


class Run(NamedTuple):
    config: Path
    results: Path
    said: str
    snakemake: Callable[..., str]  # runs it again


@pytest.fixture(scope="module")
def run(tmp_path_factory, pytestconfig):
    """The finished workflow, which ran from an empty folder."""
    folder = tmp_path_factory.mktemp("workflow")
    file = write_config(folder)
    snakemake = deploy(folder / "deployed", file)
    said = snakemake(*CORES, "all")
    keep_tables(folder / "results" / "tables", undisturbed_tables(pytestconfig))
    return Run(file, folder / "results", said, snakemake)


@pytest.mark.slow
def test_jobs_run_in_the_environment_that_the_workflow_names_and_nowhere_else(run):
    jobs = re.findall(r"^(?:local)?rule (?!all:)", run.said, re.MULTILINE)
    assert run.said.count("Activating conda environment") == len(jobs) > 30
    assert json.loads((run.results / "provenance.json").read_text())["git_commit"] == "unknown"  # it is no clone


@pytest.mark.slow
def test_tables_have_numbers_n_and_provenance(run):
    table = pd.read_csv(run.results / "tables" / "table3.csv")
    measured = table[(table["status"] == "measured") & (table["method"] != "real")]
    assert set(measured["method"]) == {"meddiff-fm", "ddpm"}
    assert measured[["ms_ssim", "lpips", "fid", "mmd", "dice", "dice_paper"]].notna().all().all()
    assert (measured["n"] >= 1).all()
    assert measured["made_with"].str.contains("phantoms").all()
    assert measured["made_with"].str.contains("demo weights").all()
    assert measured["made_with"].str.contains("random resnet10").all()
    provenance = json.loads((run.results / "provenance.json").read_text())
    assert provenance["packages"]["TotalSegmentator"] == "2.18.0"


@pytest.mark.slow
def test_bad_inputs_are_quarantined_with_reasons_and_the_run_finishes(run):
    rows = pd.concat([pd.read_csv(p, sep="\t") for p in (run.results / "data" / "resample").glob("shard-*.tsv")])
    mixed = rows[rows["id"].str.startswith("mixed_")].set_index("id")
    assert mixed.loc["mixed_good", "status"] == "done"
    reasons = {"mixed_truncated": "truncated", "mixed_mr": "cannot be CT", "mixed_nothing": "folder is empty"}
    pages = [(run.results / folder / "index.html").read_text() for folder in ("report", "qc")]
    for case, reason in reasons.items():
        assert mixed.loc[case, "status"] == "quarantined"
        assert reason in mixed.loc[case, "reason"]
        assert all(case in page and reason in page for page in pages)
    assert (run.results / "qc" / "pictures" / "mixed_good.png").exists()
    table = pd.read_csv(run.results / "tables" / "table1.csv").set_index("dataset")
    assert (table.loc["mixed", "cases"], table.loc["mixed", "n"], table.loc["mixed", "quarantined"]) == (4, 1, 3)


@pytest.mark.slow
def test_the_report_needs_no_other_file(run):
    page = (run.results / "report" / "index.html").read_text()
    # One held-out chest, drawn, denoised and of thin slices; the training curves; a map of one scan with two lesions,
    # both of them generated and inpainted.
    assert page.count("data:image/png;base64,") == 3 + 1 + 1 + 4
    assert not [word for word in ("http://", "https://", 'src="/') if word in page]


@pytest.mark.slow
def test_snakemakes_report_has_every_table_figure_and_page_with_its_caption_and_needs_no_other_file(run, tmp_path):
    run.snakemake("--report", tmp_path / "report.html", "all")
    text = (tmp_path / "report.html").read_text()
    tables = {f"tables/{path.name}" for path in (run.results / "tables").glob("*.csv")}
    folders = [run.results / "figures" / figure.name for figure in FIGURES]
    pictures = {f"{path.parent.name}/{path.name}" for folder in folders for path in folder.glob("*.png")}
    assert (len(tables), len(pictures)) == (11, 3 + 1 + 1 + 4)
    shown = [*tables, *pictures, "report/index.html", "qc/index.html", "qc/statistics.tsv", "qc/cohort.tsv"]
    assert all(name in text for name in shown)
    assert text.count('"caption": "<p>') == len(shown)
    assert text.count("data:image/png;") == len(pictures)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)


@pytest.mark.slow
def test_every_denoiser_has_a_row(run):
    fourth = pd.read_csv(run.results / "tables" / "table4.csv").set_index("method")
    measured = fourth[fourth["status"] == "measured"]
    assert set(measured.index) == set(DENOISERS)
    assert measured[["psnr", "ssim", "ssim_range1"]].notna().all().all()
    assert measured["made_with"].str.startswith("simulated low dose; ").all()
    assert measured["made_with"].str.contains("phantoms").all()


@pytest.mark.slow
def test_lesions_are_detected_generated_and_inpainted_and_absent_datasets_are_said_to_be(run):
    fifth = pd.read_csv(run.results / "tables" / "table5.csv")
    measured = fifth[fifth["dataset"] == "phantom-lesions"]
    assert {INTENSITY, "meddiff-fm (500)", SUPERVISED} <= set(measured["method"])
    assert measured[["auc", "organ_auc", "organ_ap"]].notna().all().all()
    absent = fifth[fifth["dataset"] != "phantom-lesions"]
    assert (absent["status"] == "absent").all()
    assert absent["auc_paper"].notna().all()

    sixth = pd.read_csv(run.results / "tables" / "table6.csv")
    ours = sixth[sixth["dataset"] == "phantom-lesions"].set_index("method")
    assert set(ours.index) == {"real", "scratch", "fine-tune"}
    assert (ours[["n", "patients"]] == (2, 1)).all().all()
    assert ours[["dice", "inpainting_dice"]].notna().all().all()
    drawn = ours.drop("real")
    assert drawn[["ms_ssim", "lpips", "fid", "mmd"]].notna().all().all()
    assert (sixth.loc[sixth["dataset"] != "phantom-lesions", "status"] == "absent").all()
    study = pd.read_csv(run.results / "tables" / "table6_augmentation.csv")
    assert study["training"].tolist() == ["real", "real and generated"]
    assert study["generated"].tolist() == [0, 2]  # of the patients for training and validation


@pytest.mark.slow
def test_every_way_to_thin_slices_has_a_row(run):
    table = pd.read_csv(run.results / "tables" / "table_sr.csv")
    assert (table.loc[table["data"] == "rplhr-ct", "status"] == "absent").all()
    table = table[table["data"] == "simulated"]
    assert table["method"].tolist() == list(SUPER_RESOLVERS)
    assert table[["psnr", "ssim"]].notna().all().all()
    learned = {"linear": "", "b-spline": "", **dict.fromkeys(SUPER_RESOLVERS[2:], ", learned from simulated ones")}
    for method, note in zip(table["method"], table["made_with"], strict=True):
        assert note.startswith(f"simulated thick slices{learned[method]}; own data and phantoms")


@pytest.mark.slow
def test_a_second_run_does_nothing(run):
    assert "Nothing to be done" in run.snakemake(*CORES, "all")


@pytest.mark.slow
def test_a_changed_learning_rate_trains_anew_and_touches_no_data(run):
    config = yaml.safe_load(run.config.read_text())
    config["training"]["learning_rate"] = 0.003
    changed = run.config.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(config))
    plan = run.snakemake("-n", "--quiet", "reason", "all", "--configfile", changed)
    jobs = {line.split()[0] for line in plan.splitlines() if line and line.split()[-1].isdigit()}
    assert {"pretrain", "synthesize", "tables"} <= jobs
    assert not jobs & {"index", "resample", "anatomy", "regions", "store", "extractor"}


def test_the_papers_workflow_plans_without_data(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text()) | {"output_dir": str(tmp_path)}
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake("-n", "--quiet", "reason", "all", "--configfile", tmp_path / "paper.yaml").stdout
    counts = {
        line.split()[0]: int(line.split()[-1]) for line in plan.splitlines() if line and line.split()[-1].isdigit()
    }
    assert counts["resample"] == counts["anatomy"] == counts["store"] == counts["qc"] == 84
    assert counts["pretrain"] == 2
    assert counts["total"] < 1000


def test_no_command_has_a_wildcard_left_and_its_verb_knows_all_words(tmp_path):
    """Snakemake fills in what is text in an input, but not what a function of a parameter returns."""
    file = write_config(tmp_path)
    printed = snakemake(*CORES, "all", "--dry-run", "--printshellcmds", "--configfile", file).stdout
    commands = [line.partition(" 2>&1 |")[0] for line in printed.splitlines() if "-m meddiff" in line]
    assert len(commands) > 30
    assert not [line for line in commands if "{" in line or "<results>" in line]
    for line in commands:  # whose verb knows each of the words
        meddiff = get_command(app)
        words = shlex.split(line.partition(" meddiff ")[2])
        command, context = meddiff, meddiff.make_context("meddiff", list(words), resilient_parsing=True)
        while hasattr(command, "get_command"):
            command = command.get_command(context, words.pop(0))
            context = command.make_context(command.name, list(words), resilient_parsing=hasattr(command, "get_command"))


def test_own_scans_are_planned_by_the_example_alone_and_not_by_lines_without_a_folder(tmp_path):
    plan = snakemake("-n", "prepare", "--quiet", "reason", "--configfile", ROOT / "config" / "my-scans.yaml").stdout
    jobs = {line.split()[0]: int(line.split()[-1]) for line in plan.splitlines() if line and line.split()[-1].isdigit()}
    assert jobs["resample"] == jobs["store"] == 1
    assert jobs["total"] < 12
    lines = yaml.safe_load((ROOT / "config" / "my-scans.yaml").read_text())["data"]["datasets"]
    (tmp_path / "lines.yaml").write_text(yaml.safe_dump({"data": {"datasets": lines}}))
    done = snakemake("-n", "prepare", "--configfile", tmp_path / "lines.yaml", check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("meddiff:")]
    has_run = (ROOT / "results" / "data" / "manifest.tsv").exists()  # the demo, whose folder is told first
    assert ("give this run a folder of its own" if has_run else "config/my-scans.yaml") in line


def test_a_job_that_fails_is_said_to_fail(tmp_path):
    """Its output goes through `tee`, whose exit code is 0."""
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(tmp_path / "out")}
    config["data"]["datasets"] = [{"name": "own", "root": str(tmp_path / "nowhere"), "region": "chest"}]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--cores", 1, "index", "--configfile", tmp_path / "config.yaml", check=False)
    assert done.returncode != 0
    assert "does not exist; correct its root" in done.stderr
    assert "completed successfully" not in done.stderr


def test_new_mended_and_removed_scans_are_taken_up_by_the_same_command_and_those_alone(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(tmp_path / "out")}
    config["data"]["datasets"] = [{"name": "own", "root": str(tmp_path / "own"), "region": "chest"}]
    config["machine"] = config.get("machine", {}) | {"data_shards": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write_bad_inputs(tmp_path / "own")
    index = tmp_path / "out" / "data" / "resample" / "shard-000.tsv"

    def statuses():
        done = snakemake("--cores", 1, index, "--configfile", tmp_path / "config.yaml")
        return dict(pd.read_csv(index, sep="\t").set_index("id")["status"]), done.stdout + done.stderr

    assert statuses()[0]["own_truncated"] == "quarantined"
    write_image(from_zyx(make_phantom(201, 6.0, "chest").ct_zyx, 6.0), tmp_path / "whole.nii.gz")
    whole = (tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "own" / "truncated.nii.gz").write_bytes(whole)  # in its place, so that its folder does not change
    (tmp_path / "own" / "mr.nii.gz").unlink()
    write_image(from_zyx(make_phantom(202, 6.0, "chest").ct_zyx, 6.0), tmp_path / "own" / "new.nii.gz")
    found, told = statuses()
    assert found == {"own_good": "done", "own_truncated": "done", "own_new": "done", "own_nothing": "quarantined"}
    assert "own_good: done before" in told
    assert "own_new: done before" not in told
    assert "Nothing to be done" in statuses()[1]
    (tmp_path / "own").rename(tmp_path / "unmounted")
    assert "Nothing to be done" in statuses()[1]


def test_clone_and_results_may_lie_in_folders_with_any_name(tmp_path):
    folder = tmp_path / "it's a {b} $HOME; clone"
    folder.mkdir()
    (folder / "venv").symlink_to(sys.prefix)
    results = tmp_path / "it's a $HOME; folder"
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(results)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    made = results / "data" / "raw" / "phantom-chest" / "SOURCE.json"
    command = [folder / "venv" / "bin" / "python", "-m", "snakemake", "--cores", 1, made]
    done = subprocess.run(
        [*map(str, command), "--configfile", folder / "config.yaml"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=FEW_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert made.exists()


def test_a_second_run_in_one_output_folder_is_told_who_holds_it(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(tmp_path / "out")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with locked(tmp_path / "out" / ".lock", "the first run"):
        done = snakemake("--cores", 1, "index", "--configfile", tmp_path / "config.yaml", check=False)
        snakemake("-n", "index", "--configfile", tmp_path / "config.yaml")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("meddiff:")]
    assert f"{tmp_path / 'out'} is in use by process {os.getpid()} of " in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "data" / "manifest.tsv").exists()


@pytest.mark.parametrize(("profile", "minutes"), [("profiles/slurm", 1311), ("profiles/default", 525_600)])
def test_only_on_a_cluster_a_training_is_a_chain_of_slices(tmp_path, profile, minutes):
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(tmp_path / "out")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake("-n", "all", "--workflow-profile", profile, "--configfile", tmp_path / "config.yaml").stdout
    pretrain = plan.split("rule pretrain:")[1]
    assert f"slice_min={minutes}" in pretrain.split("resources:")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training={learning_rate: -1}", "training.learning_rate: -1.0 is less than or equal to the minimum of 0"),
        ("colour=red", "unknown key colour"),
        ("data={datasets: []}", "data.datasets names none"),
    ],
)
def test_a_wrong_configuration_ends_in_one_line(setting, words):
    done = snakemake("-n", "--config", setting, check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("meddiff:")]
    assert words in line
    assert "Traceback" not in done.stderr


def test_values_that_contradict_each_other_start_no_job(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(tmp_path / "out")}
    config["diffusion"]["timesteps"] = 999
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--cores", 1, "index", "--configfile", tmp_path / "config.yaml", check=False)
    assert done.returncode != 0
    assert "distillation.steps 2 does not divide diffusion.timesteps 999" in done.stderr
    assert "rule phantoms" not in done.stderr
    assert not (tmp_path / "out" / "data").exists()


def test_the_workflow_is_formatted_and_free_of_lint():
    done = snakemake("--lint", check=False)
    assert "Congratulations" in done.stdout + done.stderr, done.stderr[-3000:]
    files = [str(ROOT / "Snakefile"), str(ROOT / "workflow")]
    subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", *files], check=True, capture_output=True, timeout=FEW_SECONDS
    )


@pytest.mark.parametrize("path", [p for p in RULES if p.stem != "common"], ids=lambda p: p.stem)
def test_every_rule_says_what_it_does_and_needs(path):
    text = path.read_text()
    assert text.startswith('"""')
    rules = text.count("\nrule ")
    assert rules >= 1
    for word in ("    log:", "    benchmark:", "    threads:", "mem_mb=", "runtime=", "    conda:"):
        assert text.count(word) == rules, f"{word.strip()} in each of {rules} rules"
    for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        assert ("--config {params.config:q}" in rule) == ("config=configuration" in rule), rule


NO_STAGES = {"fetch", "phantoms", "gather_store"}  # people's verbs that read no configuration; lines put together


def test_a_stage_has_one_name():
    """That of its rule: in what Snakemake remembers of it, its verb, its log and benchmark, and in its files."""
    named = [
        (path.stem, *re.match(r"(\w+):(.*)", rule, re.DOTALL).groups())
        for path in RULES
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]
    ]
    for family, name, rule in named:
        for place in ("logs", "benchmarks"):
            assert re.findall(rf'"<{place}>/(\w+)[./]', rule) == [name]
        if name not in NO_STAGES:
            assert re.findall(r"stage_reads\(\s*\"(\w+)\"", rule) == [name]
            assert re.findall(r"meddiff stage (\w+)", rule) == [name]
            assert f"\ndef {name}(" in (ROOT / "meddiff" / "cli" / "stage" / f"{family}.py").read_text()
    assert sorted(STAGES) == sorted({name for _, name, _ in named} - NO_STAGES)
