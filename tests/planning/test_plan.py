"""The plan of a run: its jobs are those of the real dry run, and its numbers follow the configuration."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from meddiff.config import Config, Region
from meddiff.datasets.index import Case, write_manifest
from meddiff.errors import UserError
from meddiff.planning import plan as planning
from meddiff.planning.jobs import Job, remaining_jobs
from meddiff.planning.plan import as_text, make_plan, plan_run
from meddiff.planning.scans import count_scans
from meddiff.planning.work import BYTES_PER_VOXEL, JOBS, Work

ROOT = Path(__file__).parent.parent.parent


def run(module, *arguments):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The paper's configuration with an output folder of its own, and its plan on a cluster."""
    folder = tmp_path_factory.mktemp("paper")
    tree = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    (folder / "paper.yaml").write_text(yaml.safe_dump(tree | {"output_dir": str(folder / "results")}))
    arguments = ("--config", str(folder / "paper.yaml"), "--profile", "profiles/slurm", "--json")
    return folder / "paper.yaml", json.loads(run("meddiff", "plan", *arguments))


def test_the_jobs_are_those_of_snakemakes_own_table(paper):
    config, plan = paper
    arguments = ("all", "-n", "--quiet", "reason", "--workflow-profile", "profiles/slurm", "--configfile", str(config))
    rows = run("snakemake", *arguments).split("Job stats:")[1].split("\n\n")[0]
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", rows, re.MULTILINE)}
    ours = {row["rule"]: row["jobs"] for row in plan["rules"]}
    assert ours | {"all": 1, "total": sum(ours.values()) + 1} == counts
    assert not (config.parent / "results" / "data").exists()


def test_jobs_ask_for_what_their_rules_say_and_measured_ones_have_hours(paper):
    rows = {row["rule"]: row for row in paper[1]["rules"]}
    anatomy = {"cores": 4, "gpus": 1, "memory_gb": 16, "limit_hours": 4, "hours": None, "reckoned_with": "not measured"}
    assert anatomy.items() <= rows["anatomy"].items()
    assert rows["pretrain"]["limit_hours"] == 23
    assert {rule for rule, row in rows.items() if row["hours"]} == JOBS.keys()
    gpu_hours = sum(row["hours"] or 0 for row in rows.values() if row["gpus"])
    assert paper[1]["gpu_hours"] == pytest.approx(gpu_hours)
    assert gpu_hours > 100
    assert (paper[1]["scans"], paper[1]["scans_from"]) == (5376 + 380, "their publishers")


def test_the_rates_are_those_of_the_documentation():
    text = (ROOT / "docs" / "cluster.md").read_text()
    for rule, (_, rate) in JOBS.items():
        assert re.search(rf"\|.*`{rule}`.*\| {rate.value:g} {rate.unit} \| {re.escape(rate.hardware)} \|", text), rule
    for name, per_voxel in BYTES_PER_VOXEL.items():
        assert f"{name} {per_voxel:g}" in text


DATA = {"datasets": [{"name": "amos22", "root": "/x"}]}


def work(**changes):
    config = Config.model_validate({"data": DATA, "machine": {"data_shards": 10}} | changes)
    return Work(config, count_scans(config, None))


def hours(of, rule):
    (row,) = make_plan([Job(rule)], of)["rules"]
    return row["hours"]


@pytest.mark.parametrize(
    ("rule", "changes", "factor"),
    [
        ("resample", {"machine": {"data_shards": 20}}, 1 / 2),
        ("store", {"data": DATA | {"spacing_mm": 2.0}}, 1 / 8),
        ("pretrain", {"training": {"epochs": 75}}, 1 / 2),
        ("pretrain", {"data": DATA | {"split": [0.45, 0.5, 0.05]}}, 1 / 2),
        ("finetune_lesions", {"finetuning": {"steps": 5000}}, 1 / 2),
        ("synthesize", {"diffusion": {"prediction": "v"}}, 1 / 100),  # 1,000 steps, and 10
        ("synthesize", {"data": DATA | {"split": [0.8, 0.1, 0.1]}}, 2),
    ],
)
def test_hours_follow_the_configuration(rule, changes, factor):
    assert hours(work(**changes), rule) == pytest.approx(factor * hours(work(), rule), rel=1e-2)


def test_a_rule_that_nobody_measured_is_listed_without_hours():
    plan = make_plan([Job("new_rule", gpus=2), Job("new_rule", gpus=1)], work())
    assert (plan["rules"][0]["jobs"], plan["rules"][0]["gpus"], plan["gpu_hours"]) == (2, 2, 0)
    assert "those of 2 jobs that ask for a GPU and were not measured" in as_text(plan | {"scans_from": "test"})
    assert "0 GPU hours" in as_text(make_plan([], work()) | {"scans_from": "test"})


def test_a_manifest_counts_while_it_follows_from_the_configuration(tmp_path, monkeypatch):
    tree = {"output_dir": str(tmp_path), "data": DATA}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    case = Case("amos22", "a", tmp_path, Region.ABDOMEN, "pretraining", "train", 0)
    cases = [case, replace(case, case="b", split="test"), replace(case, case="c", quarantine="the same scan as a")]
    (tmp_path / "data").mkdir()
    write_manifest(cases, tmp_path / "data" / "manifest.tsv")
    monkeypatch.setattr(planning, "remaining_jobs", lambda *_: [Job("store")])
    assert plan_run(tmp_path / "config.yaml", None)["scans"] == 2
    monkeypatch.setattr(planning, "remaining_jobs", lambda *_: [Job("index"), Job("store")])
    assert plan_run(tmp_path / "config.yaml", None)["scans"] == 500


def test_ones_own_scans_have_to_be_indexed_first():
    config = Config.model_validate({"data": {"datasets": [{"name": "own", "root": "/x", "region": "chest"}]}})
    with pytest.raises(UserError, match=r"own: how many scans .* not known .* make .*/data/manifest\.tsv"):
        count_scans(config, None)


def test_gpus_of_several_nodes_are_added_up(tmp_path, monkeypatch):
    tree = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text())
    machine = tree["machine"] | {"processes": 4, "nodes": 2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree | {"output_dir": str(tmp_path / "r"), "machine": machine}))
    monkeypatch.chdir(ROOT)
    assert {job.gpus for job in remaining_jobs(tmp_path / "c.yaml") if job.rule == "pretrain"} == {4}


REFUSALS = {"colour: red": ("", "unknown key colour"), "seed: 1": ("speed: 9", "snakemake: .*arguments: --speed")}


@pytest.mark.parametrize("config", REFUSALS)
def test_a_refusal_is_passed_on_in_one_line(tmp_path, monkeypatch, config):
    profile, reason = REFUSALS[config]
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "config.v9+.yaml").write_text(profile)
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=reason) as refusal:
        remaining_jobs(tmp_path / "config.yaml", str(tmp_path) if profile else None)
    assert "\n" not in str(refusal.value)


def test_outside_the_workflows_folder_the_mend_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no Snakefile here; run this in the folder of the workflow"):
        remaining_jobs(tmp_path / "config.yaml")
