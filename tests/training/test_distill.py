"""Progressive distillation: its target, and a model halved to few steps."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from meddiff.config import DiffusionConfig, SamplingConfig, WindowsConfig, parse_config
from meddiff.config.stages import restrict
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded
from meddiff.machine.shards import DONE, Row
from meddiff.machine.tsv import write_tsv
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.store.patches import Sample
from meddiff.training.distill import distill, halvings
from meddiff.training.objective import Distillation, Noising, Objective
from tests.conftest import make_record
from tests.training import SMALL

TIMESTEPS = 64


class Fixed(torch.nn.Module):
    """A network that estimates a given function of x and t."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def encode_condition(self, *_):
        return None

    def forward(self, x, t, _region, _condition):
        return self.function(x, t.view(-1, 1, 1, 1, 1).float())


@pytest.fixture
def batch():
    image = torch.rand(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Sample(image, None, None, torch.zeros(4, dtype=torch.long), None, None)


def test_halvings_end_at_the_steps_asked_for():
    assert halvings(64, 8) == [32, 16, 8]


@pytest.mark.parametrize("steps", [8, 2, 1])
def test_one_step_to_the_target_ends_where_two_steps_of_the_teacher_do(batch, steps):
    """The teacher's steps are taken by diffusers."""
    teacher = Fixed(lambda x, t: torch.tanh(0.7 * x + t / TIMESTEPS))
    seen = {}

    def student(x, t):
        seen.update(x=x, t=t)
        return torch.zeros_like(x)

    objective = Distillation(Fixed(student), teacher, Schedule(TIMESTEPS), "sample", "sample", steps)
    noising = Noising.draw(batch, TIMESTEPS, 1)
    losses = objective(batch, noising)

    scheduler = DDIMScheduler(
        num_train_timesteps=TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="sample",
        timestep_spacing="trailing", clip_sample=False,
    )  # fmt: skip
    stride = TIMESTEPS // steps
    assert set(seen["t"].flatten().int().tolist()) <= {stride * k - 1 for k in range(1, steps + 1)}
    for number in range(4):
        t = int(seen["t"][number])
        x = x_t = seen["x"][number]
        scheduler.set_timesteps(2 * steps)
        for at in (t, t - stride // 2):
            x = scheduler.step(teacher(x, torch.tensor([at]), None, None)[0], at, x).prev_sample
        scheduler.set_timesteps(steps)
        schedule = Schedule(TIMESTEPS)
        t_1, end = torch.tensor([t]), torch.tensor([t - stride])
        x0 = objective._single_step_x0(x_t[None], x[None], t_1, end)
        torch.testing.assert_close(scheduler.step(x0[0], t, x_t).prev_sample, x, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(losses[number], x0.abs().mean(), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(schedule.ddim_step(x0, x_t[None], t_1, end)[0], x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["v", "sample"])
def test_a_perfect_teacher_has_perfect_students(batch, prediction):
    """A teacher that knows x_0 leads to the loss of Eq. 1."""
    schedule = Schedule(TIMESTEPS)
    teacher = Fixed(lambda x, t: batch.image)
    student = Fixed(lambda x, t: torch.sin(x))
    distilled = Distillation(student, teacher, schedule, prediction, "sample", 8)
    noising = Noising.draw(batch, TIMESTEPS, 1)
    on_the_grid = Noising(noising.noise_BCZYX, noising.t_B // 8 * -8 + TIMESTEPS - 1)
    expected = Objective(student, schedule, prediction)(batch, on_the_grid)
    torch.testing.assert_close(distilled(batch, noising), expected, atol=1e-4, rtol=1e-4)


def test_the_teacher_gets_no_gradient(batch):
    torch.manual_seed(0)
    batch = Sample(
        torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 16, 16, 16), torch.zeros(1, 3, 16, 16, 16), batch.region[:1], 0, 0
    )
    student, teacher = UNet(SMALL), UNet(SMALL)
    Distillation(student, teacher, Schedule(1000), "v", "epsilon", 8)(
        batch, Noising.draw(batch, 1000, 0)
    ).mean().backward()
    assert student.conv_out.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.fixture
def case(tmp_path):
    rows = []
    for split in ("train", "val"):
        record = make_record(tmp_path / split, seed=1, split=split)
        rows.append(Row(split, DONE, record.folder / "meta.json", "0", 0.0, "").__dict__)
    write_tsv(rows, tuple(rows[0]), tmp_path / "shard.tsv")
    torch.manual_seed(0)
    teacher = FoundationModel(UNet(SMALL), DiffusionConfig(prediction="epsilon"), "tiny", 6.0, WindowsConfig())
    training = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
    teacher.save(tmp_path / "teacher", training | {"validation": {}, "regions_per_dataset": {}})
    config = {
        "model": {**SMALL.model_dump(exclude={"position"})},
        "machine": {"workers": 0, "validation_patches": 1},
        "training": {"accumulation": 1, "ema_decay": 0.5, "bfloat16": False},
        "distillation": {"first_steps": 8, "steps": 2, "training_steps": 3, "learning_rate": 1e-3},
        "models": [{"name": "tiny"}],
    }
    return tmp_path, restrict(parse_config(config, "test"), "distill")


def test_a_model_is_halved_to_a_bundle_that_knows_its_steps(case):
    folder, config = case
    arguments = (config, folder / "teacher", [folder / "shard.tsv"], folder / "runs", folder / "student")
    stops = 0
    while not (folder / "student" / "config.json").exists():
        try:
            distill(*arguments, max_minutes=0.0)
        except TimeSliceEnded:
            stops += 1
    assert stops == 4  # two runs of three steps, a step at a time
    model = FoundationModel.from_pretrained(folder / "student")
    assert (model.steps, model.diffusion.prediction, model.name) == (2, "v", "tiny")
    recipe = model.recipe(SamplingConfig(solver="unipc"))
    assert (recipe.solver, recipe.steps, recipe.spacing) == ("ddim", 2, "trailing")
    card = (folder / "student" / "README.md").read_text()
    assert "2 steps of DDIM (distilled)" in card
    assert len(list((folder / "runs").iterdir())) == 2
    whole = folder / "whole"
    distill(config, folder / "teacher", [folder / "shard.tsv"], whole / "runs", whole / "student", float("inf"))
    for name, tensor in FoundationModel.from_pretrained(whole / "student").network.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name])
