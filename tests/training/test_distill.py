"""Distillation: its targets, and a model that becomes one of few steps."""

import itertools

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from meddiff.config import DiffusionConfig, DistillationConfig, SamplingConfig, WindowsConfig, parse_config
from meddiff.config.stages import restrict
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded
from meddiff.machine.shards import DONE, Row
from meddiff.machine.tsv import write_tsv
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.store.patches import Sample
from meddiff.training.distill import distill, students
from meddiff.training.objective import Consistency, Distillation, Noising, Objective
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


@pytest.mark.parametrize(("first", "last", "expected"), [(64, 8, [32, 16, 8]), (8, 1, [4, 2, 1]), (24, 3, [12, 6, 3])])
def test_halvings_end_at_the_steps_asked_for_and_consistency_goes_there_at_once(first, last, expected):
    assert students(DistillationConfig(first_steps=first, steps=last)) == expected
    assert students(DistillationConfig(first_steps=first, steps=last, method="consistency")) == [last]


@pytest.mark.parametrize("steps", [8, 2, 1])
def test_one_step_to_the_target_ends_where_two_steps_of_the_teacher_do(batch, steps):
    """The teacher's steps are taken by diffusers."""
    teacher = Fixed(lambda x, t: torch.tanh(0.7 * x + t / TIMESTEPS))
    seen = {}

    def student(x, t):
        seen.update(x=x, t=t)
        return torch.zeros_like(x)

    known = Objective(teacher, Schedule(TIMESTEPS), "sample")
    objective = Distillation(Fixed(student), known, "sample", steps, 2 * steps)
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
    distilled = Distillation(student, Objective(teacher, schedule, "sample"), prediction, 8, 16)
    noising = Noising.draw(batch, TIMESTEPS, 1)
    on_the_grid = Noising(noising.noise_BCZYX, noising.t_B // 8 * -8 + TIMESTEPS - 1)
    expected = Objective(student, schedule, prediction)(batch, on_the_grid)
    torch.testing.assert_close(distilled(batch, noising), expected, atol=1e-4, rtol=1e-4)


SPREAD = 0.1  # of Gaussian data that are never clipped


def gaussian(prediction):
    """Return the network that knows Gaussian data: what it estimates is the mean of all x_0 that may be in x_t."""

    def estimate(x, t):
        schedule, t_B = Schedule(TIMESTEPS), t.flatten().long()
        alpha, sigma = schedule.coefficients(t_B)
        x0 = x * alpha * SPREAD**2 / ((alpha * SPREAD) ** 2 + sigma**2)
        return schedule.target(prediction, x0, schedule.noise(x0, x, t_B), t_B)

    return Fixed(estimate)


def drawn(objective, batch, x, steps):
    """Return where so many steps of DDIM lead from the last timestep."""
    ends = [torch.full((len(x),), TIMESTEPS // steps * n - 1) for n in range(steps, -1, -1)]
    for t_B, end_B in itertools.pairwise(ends):
        x = objective.ddim_step(batch, x, t_B, end_B)
    return x


def leading_to_the_end(steps):
    """Return the student that leads from each timestep, in one step, to where the teacher's steps of 1 lead."""

    def estimate(x, t):
        schedule, t_B = Schedule(TIMESTEPS), t.flatten().long()
        alpha, sigma = (each.flatten() for each in schedule.coefficients(torch.arange(-1, TIMESTEPS)))
        gain = alpha[1:] * SPREAD**2 / ((alpha[1:] * SPREAD) ** 2 + sigma[1:] ** 2)  # of x_0 in x_t
        factors = alpha[:-1] * gain + sigma[:-1] / sigma[1:] * (1 - alpha[1:] * gain)  # of a step of 1 from t
        end_B = t_B // (TIMESTEPS // steps) * (TIMESTEPS // steps) - 1
        ways = torch.stack([factors[end + 1 : t + 1].prod() for t, end in zip(t_B, end_B, strict=True)])
        same_end = Distillation._single_step_x0
        return same_end(Objective(None, schedule, "sample"), x, ways.view(-1, 1, 1, 1, 1) * x, t_B, end_B)

    return Fixed(estimate)


@pytest.fixture
def faint():
    image = SPREAD * torch.randn(32, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return Sample(image, None, None, torch.zeros(32, dtype=torch.long), None, None)


@pytest.mark.parametrize("steps", [4, 2, 1])
def test_of_gaussian_data_the_student_that_is_asked_for_is_known(faint, steps):
    schedule, noising = Schedule(TIMESTEPS), Noising.draw(faint, TIMESTEPS, 1)
    teacher = Objective(gaussian("v"), schedule, "v")
    right, wrong = (
        Consistency(student, teacher, "sample", steps, TIMESTEPS)(faint, noising).mean()
        for student in (leading_to_the_end(steps), gaussian("sample"))
    )
    assert right < 1e-6
    assert wrong > 1e-4


@pytest.mark.parametrize("kind", [Distillation, Consistency])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_it_does_not_matter_what_a_teacher_estimates(faint, kind, prediction):
    schedule, noising = Schedule(TIMESTEPS), Noising.draw(faint, TIMESTEPS, 1)
    found, expected = (
        kind(gaussian("v"), Objective(gaussian(of), schedule, of), "v", 8, 16)(faint, noising)
        for of in (prediction, "sample")
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


class Gain(torch.nn.Module):
    """A network that multiplies x by a number for each timestep, to be learned."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.zeros(TIMESTEPS))

    def encode_condition(self, *_):
        return None

    def forward(self, x, t, _region, _condition):
        return self.gain[t].view(-1, 1, 1, 1, 1) * x


def test_consistency_spreads_from_the_end_to_all_timesteps(faint):
    """From gains of 0 the student learns to end in one step where 16 of the teacher do, and one of it does not."""
    schedule, student = Schedule(TIMESTEPS), Gain()
    few = Sample(faint.image[..., :2, :2, :2].repeat(2, 1, 1, 1, 1), None, None, None, None, None)
    teacher = Objective(gaussian("v"), schedule, "v")
    objective = Consistency(student, teacher, "sample", 1, 16)
    optimizer = torch.optim.Adam(student.parameters(), betas=(0.9, 0.99))
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.005 * (1 - step / 300)
        optimizer.zero_grad()
        objective(few, Noising.draw(few, TIMESTEPS, step)).mean().backward()
        optimizer.step()
    x = torch.randn(faint.image.shape, generator=torch.Generator().manual_seed(5))
    expected = drawn(teacher, faint, x, 16)
    with torch.no_grad():
        assert (drawn(objective, faint, x, 1) - expected).std() < 0.1 * expected.std()
    assert (drawn(teacher, faint, x, 1) - expected).std() > 0.3 * expected.std()


@pytest.mark.parametrize("kind", [Distillation, Consistency])
def test_the_teacher_gets_no_gradient(batch, kind):
    torch.manual_seed(0)
    batch = Sample(
        torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 16, 16, 16), torch.zeros(1, 3, 16, 16, 16), batch.region[:1], 0, 0
    )
    student, teacher = UNet(SMALL), UNet(SMALL)
    kind(student, Objective(teacher, Schedule(1000), "epsilon"), "v", 8, 16)(
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
        "distillation": {"first_steps": 8, "steps": 2, "training_steps": 2, "learning_rate": 1e-3},
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
    assert stops == 2  # two runs of two steps, a step at a time
    model = FoundationModel.from_pretrained(folder / "student")
    assert (model.steps, model.diffusion.prediction, model.name) == (2, "v", "tiny")
    recipe = model.recipe(SamplingConfig(solver="unipc"))
    assert (recipe.solver, recipe.steps, recipe.spacing) == ("ddim", 2, "trailing")
    card = (folder / "student" / "README.md").read_text()
    assert "2 steps of DDIM (distilled)" in card
    runs = set((folder / "runs").iterdir())
    assert len(runs) == 2
    whole = folder / "whole"
    distill(config, folder / "teacher", [folder / "shard.tsv"], whole / "runs", whole / "student", float("inf"))
    for name, tensor in FoundationModel.from_pretrained(whole / "student").network.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name])
    fewer = config.model_copy(update={"distillation": config.distillation.model_copy(update={"steps": 1})})
    distill(fewer, *arguments[1:], float("inf"))
    assert FoundationModel.from_pretrained(folder / "student").steps == 1
    assert len(set((folder / "runs").iterdir()) - runs) == 1  # that of 2 to 1


def test_a_model_is_distilled_at_once(case):
    folder, config = case
    at_once = config.model_copy(
        update={"distillation": config.distillation.model_copy(update={"method": "consistency"})}
    )
    distill(at_once, folder / "teacher", [folder / "shard.tsv"], folder / "runs", folder / "student", float("inf"))
    assert FoundationModel.from_pretrained(folder / "student").steps == 2
    assert len(list((folder / "runs").iterdir())) == 1
