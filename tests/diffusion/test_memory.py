"""The memory of sampling: what the formula says is what the process takes."""

import os
import sys
from pathlib import Path

import pytest
import torch

from meddiff.config import DiffusionConfig, SamplingConfig
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.sliding import Condition, SlidingWindows, array_bytes
from meddiff.machine.device import set_up_cpu
from tests.diffusion.test_sliding import Oracle
from tests.forked import run_forked

SIZE = (320, 320, 384)


def peak():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def draw(size, solver):
    anatomy = torch.zeros(size, dtype=torch.uint8)
    anatomy[:16, :16, :16] = 5
    config = SamplingConfig(steps=4, solver=solver, bfloat16=False)
    windows = SlidingWindows([Oracle()], DiffusionConfig(prediction="epsilon"), Condition(anatomy, 0), config)
    sample_volume(windows, 0)


def print_what_a_volume_takes():
    """Print it, in a process of its own, which has drawn a small volume before."""
    set_up_cpu(1)
    Oracle.config = Oracle.config.model_copy(update={"patch_vox": 32})
    draw((32, 32, 64), sys.argv[1])
    before = peak()
    draw(SIZE, sys.argv[1])
    print(peak() - before)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm-solver++", "unipc"])
def test_a_volume_takes_no_more_memory_than_the_formula_says(solver, tmp_path):
    done = run_forked(f"{__name__}:{print_what_a_volume_takes.__name__}", ["memory", solver], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    taken, stated = int(done.stdout), array_bytes(SIZE[0] * SIZE[1] * SIZE[2])
    assert 0.3 * stated < taken <= stated
