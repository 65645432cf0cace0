"""The plan of a run: its jobs are those of the real dry run, and its numbers follow the configuration."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from meddiff.config import Config, DatasetConfig, Region, load_config
from meddiff.config.stages import params_of
from meddiff.datasets.index import Case, write_manifest
from meddiff.errors import UserError
from meddiff.machine.files import write_json
from meddiff.planning.cost import RATES, CostModel
from meddiff.planning.elapsed import elapsed_seconds
from meddiff.planning.jobs import Job, local_rules, parse_jobs, read_jobs
from meddiff.planning.past import Past, finished_jobs, read_past
from meddiff.planning.plan import make_plan, table
from meddiff.planning.scans import expected_scans, manifest_scans

ROOT = Path(__file__).parent.parent.parent
PAPER = ROOT / "config" / "paper.yaml"


def snakemake_table(config, *arguments):
    """Return the counts of Snakemake's own table of jobs."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "reason", "all", "--configfile", str(config)]
    printed = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    rows = printed.split("Job stats:")[1].split("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", rows, re.MULTILINE)}


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The paper's configuration with an output folder of its own, and its jobs on a cluster."""
    folder = tmp_path_factory.mktemp("paper")
    file = folder / "paper.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(PAPER.read_text()) | {"output_dir": str(folder / "results")}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return file, read_jobs(file, "profiles/slurm")


def test_the_jobs_are_those_of_snakemakes_own_table(paper):
    file, jobs = paper
    counts = snakemake_table(file, "--workflow-profile", "profiles/slurm")
    ours = {rule: sum(job.rule == rule for job in jobs) for rule in counts}
    assert ours | {"all": 1, "total": len(jobs) + 1} == counts
    assert 300 < len(jobs) < 1000


def test_jobs_ask_for_what_their_rules_and_the_profile_say(paper):
    by_rule = {job.rule: job for job in paper[1]}
    assert (by_rule["anatomy"].threads, by_rule["anatomy"].gpus, by_rule["anatomy"].mem_mb) == (4, 1, 16000)
    assert by_rule["pretrain"].runtime_min == 1380
    assert {rule for rule, job in by_rule.items() if not job.submitted} == {
        *("index", "extractor", "anatomy_weights", "qc_page", "gather_scores", "tables", "report")
    }
    assert str(by_rule["tables"].benchmark).endswith("results/benchmarks/tables.tsv")


def test_all_jobs_that_segment_wait_for_the_one_that_fetches_the_weights(paper):
    (fetching,) = [job for job in paper[1] if job.rule == "anatomy_weights"]
    rules = {"anatomy", "low_dose", "segment_real", "segment_synthetic", "thick_slices"}
    segmenting = [job for job in paper[1] if job.rule in rules]
    assert {job.rule for job in segmenting} == rules
    assert all(fetching.outputs[0] in job.inputs for job in segmenting)


def test_every_rule_has_a_cost_and_none_of_the_papers_jobs_reaches_its_limit(paper):
    model = CostModel(load_config(paper[0]), expected_scans(load_config(paper[0])))
    plan = make_plan(paper[1], model, Past({}, {}), "test")
    assert plan.scans == 5376 + 380
    assert not [warning for warning in plan.warnings if "does not know" in warning or "limit" in warning]
    assert sum(stage.jobs for stage in plan.stages) == len(paper[1])


def test_none_of_the_papers_jobs_is_shorter_than_three_minutes(paper):
    model = CostModel(load_config(paper[0]), expected_scans(load_config(paper[0])))
    seconds = {job.rule: model.seconds(job) or 0 for job in paper[1] if job.submitted}
    assert min(seconds.values()) >= 180, seconds


def test_the_cost_model_is_that_of_the_documentation():
    text = (ROOT / "docs" / "cluster.md").read_text()
    for name, rate in RATES.items():
        assert re.search(rf"\| {name} \| {rate.value:g} {re.escape(rate.unit)} \| {re.escape(rate.source)} \|", text), (
            name
        )


def test_gpus_of_several_nodes_are_added_up():
    printed = "rule pretrain:\n    output: a\n    resources: mem_mb=32000, nodes=2, gres=gpu:a100:4, runtime=1380\n"
    (job,) = parse_jobs(printed, set())
    assert job.gpus == 8


def test_rules_that_run_here_are_read_from_the_snakefile():
    assert local_rules("rule a:\n    output: 1\nlocalrules:\n    all,\n    fetch,\n\n\nrule b:\n") == {"all", "fetch"}


def small_model(**changes):
    config = Config.model_validate(
        {"data": {"datasets": [{"name": "amos22", "root": "/x"}]}, "machine": {"data_shards": 10}} | changes
    )
    return CostModel(config, expected_scans(config))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, (450, 25, 25)),
        ({"split_by": "publisher"}, (200, 100, 200)),
        ({"split": [0.5, 0.3, 0.2]}, (250, 150, 100)),
    ],
)
def test_scans_are_expected_in_the_splits_that_the_configuration_asks_for(data, expected):
    config = Config.model_validate({"data": {"datasets": [{"name": "amos22", "root": "/x"}]} | data})
    (scans,) = expected_scans(config)
    assert tuple(scans.by_split[split] for split in ("train", "val", "test")) == expected


def seconds(model, rule, **wildcards):
    found = model.seconds(Job(rule, wildcards))
    assert found is not None
    return found - RATES["start"].value


def test_costs_follow_the_work():
    base = small_model()
    data = {"datasets": [{"name": "amos22", "root": "/x"}]}
    assert seconds(small_model(machine={"data_shards": 20}), "resample") == pytest.approx(seconds(base, "resample") / 2)
    coarse = small_model(data=data | {"spacing_mm": 2.0})
    assert seconds(coarse, "resample") == pytest.approx(seconds(base, "resample") / 8)
    half = small_model(training={"epochs": 75})
    assert seconds(half, "pretrain") == pytest.approx(seconds(base, "pretrain") / 2, rel=1e-3)
    four = small_model(machine={"data_shards": 10, "processes": 4})
    assert seconds(four, "pretrain") == pytest.approx(seconds(base, "pretrain") / 4)
    eight = small_model(machine={"processes": 8})  # a step has four passes, so half of them wait
    assert seconds(eight, "pretrain") == pytest.approx(seconds(four, "pretrain"))
    few = small_model(diffusion={"prediction": "v"})
    assert seconds(base, "synthesize") == pytest.approx(100 * seconds(few, "synthesize"))  # 1,000 steps, and 10


def test_a_manifest_counts_more_than_the_registry(tmp_path):
    config = small_model().config
    cases = [
        Case("amos22", f"c{i}", tmp_path, Region.ABDOMEN, "pretraining", "test" if i < 3 else "train", 0)
        for i in range(9)
    ]
    cases.append(replace(cases[0], case="copy", quarantine="the same scan as amos22_c0"))
    write_manifest(cases, tmp_path / "manifest.tsv")
    (scans,) = manifest_scans(config, cases)
    assert scans.by_split == {"train": 6, "val": 0, "test": 3}
    other = config.model_copy(
        update={"data": config.data.model_copy(update={"datasets": (DatasetConfig(name="demo-head"),)})}
    )
    with pytest.raises(UserError, match="the manifest has amos22, which the configuration has not"):
        manifest_scans(other, cases)


def test_the_number_of_ones_own_scans_must_be_given():
    config = Config.model_validate({"data": {"datasets": [{"name": "own", "root": "/x", "region": "chest"}]}})
    with pytest.raises(UserError, match="own: how many scans it has is not known; give --manifest"):
        expected_scans(config)


def write_benchmark(path, took):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{took}\t0:00:01\t100\n")
    return path


def test_finished_jobs_correct_the_model(tmp_path):
    model = small_model(output_dir=str(tmp_path))
    took = 3 * (seconds(model, "store", shard="000") + RATES["start"].value)
    done = Job("store", {"shard": "000"}, benchmark=write_benchmark(tmp_path / "000.tsv", took))
    left = Job("store", {"shard": "001"}, benchmark=tmp_path / "001.tsv")
    assert finished_jobs([done, left], [left]) == [done]
    past = read_past(model, [done])
    assert past.of("store") == pytest.approx(3, rel=1e-3)
    assert past.of("resample") == 1
    (stage,) = make_plan([left], model, past, "test").stages
    assert stage.measured == 1
    assert stage.longest_minutes == pytest.approx(took / 60, rel=1e-3)


@pytest.mark.parametrize(("gpu", "factor"), [(True, 2.0), (False, 1.0)])
def test_a_trainings_own_statistics_count_if_it_ran_on_a_gpu(tmp_path, gpu, factor):
    model = small_model(output_dir=str(tmp_path))
    config = model.config.model_copy(update={"models": model.config.models[:1]})
    run = tmp_path / "runs" / "meddiff-fm-1"
    write_json({"settings": params_of(config, "pretrain"), "records": []}, run / "run.json")
    row = {"step": 60, "seconds_per_step": 2 * model.seconds_per_step("pretrain")} | (
        {"peak_gpu_gb": 9.0} if gpu else {}
    )
    (run / "stats.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({"step": 60, "validation/han/patch": 0.1}) + "\n"
    )
    anatomy = Job("anatomy", {"shard": "000"}, gpus=1, benchmark=write_benchmark(tmp_path / "a.tsv", 50))
    past = read_past(model, [anatomy])
    assert past.of("pretrain") == pytest.approx(factor)
    assert ("anatomy" in past.factors) == gpu


def test_jobs_that_mostly_start_say_nothing_of_others(tmp_path):
    tiny = small_model(data={"datasets": [{"name": "amos22", "root": "/x"}], "spacing_mm": 6.0})
    jobs = [Job(rule, {"shard": "000"}, benchmark=write_benchmark(tmp_path / rule, 1)) for rule in ("store", "index")]
    assert read_past(tiny, jobs).factors == {}


def test_a_better_past_wins():
    assert Past({"a": 2, "b": 2}, {"a": 1, "b": 1}).under(Past({"a": 3}, {"a": 9})) == Past(
        {"a": 3, "b": 2}, {"a": 9, "b": 1}
    )


def test_jobs_wait_for_their_inputs_and_for_gpus():
    first = [Job("train", gpus=1, outputs=(f"m{i}",)) for i in range(3)]
    last = Job("table", inputs=("m0", "m1", "m2", "other"), outputs=("t",))
    jobs = [last, *first]
    assert elapsed_seconds(jobs, [5, 10, 10, 10], 3) == 15
    assert elapsed_seconds(jobs, [5, 10, 10, 10], 1) == 35
    assert elapsed_seconds(jobs, [5, 10, 20, 10], float("inf")) == 25
    assert elapsed_seconds([replace(job, gpus=4) for job in first], [1, 1, 1], 2) == 3


def test_what_a_person_should_look_at_is_said():
    model = small_model()
    jobs = [
        Job("store", {"shard": "000"}, runtime_min=1),
        Job("regions", {"shard": "000"}, submitted=True),
        Job("new_rule"),
    ]
    plan = make_plan(jobs, model, Past({}, {}), "test")
    assert plan.warnings == [
        "store: 1 of 1 jobs take up to 4 min 0 s, more than the limit of 1 min 0 s; raise `runtime` in the profile's "
        "set-resources",
        "regions: 1 of 1 jobs are shorter than 3 min; fewer shards make longer ones",
        "new_rule: the cost model does not know this rule; 1 jobs are not counted",
    ]
    printed = table(plan)
    assert all(f"note: {warning}" in printed for warning in plan.warnings)


def test_a_finished_run_has_an_empty_plan():
    plan = make_plan([], small_model(), Past({}, {}), "test")
    assert (plan.jobs, plan.warnings, set(plan.elapsed_hours.values())) == (0, [], {0})
    assert "total" in table(plan)


def test_the_verb_prints_json_and_starts_nothing(paper, tmp_path):
    command = [
        sys.executable,
        "-m",
        "meddiff",
        "plan",
        "--config",
        str(paper[0]),
        "--profile",
        "profiles/slurm",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    plan = json.loads(done.stdout)
    assert plan["jobs"] == len(paper[1])
    assert plan["gpu_hours"] > 100
    assert plan["scans_from"].startswith("the registry's numbers")


def test_outside_the_workflows_folder_the_mend_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no Snakefile here; run this in the folder of the workflow"):
        read_jobs(PAPER)


def test_snakemakes_own_refusal_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "wrong.yaml").write_text("colour: red\n")
    with pytest.raises(UserError, match="unknown key colour"):
        read_jobs(tmp_path / "wrong.yaml")
