"""The memory of sampling: what the formula says is what the process takes."""

import subprocess
import sys

import pytest

from meddiff.diffusion.sliding import array_bytes

SIZE = (320, 320, 384)
PROGRAM = """
import sys, torch
from meddiff.config import DiffusionConfig, SamplingConfig
from meddiff.machine.device import set_up_cpu
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.sliding import Condition, SlidingWindows
from tests.diffusion.test_sliding import Oracle

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

def draw(size, solver):
    anatomy = torch.zeros(size, dtype=torch.uint8)
    anatomy[:16, :16, :16] = 5
    config = SamplingConfig(steps=4, solver=solver, bfloat16=False)
    windows = SlidingWindows([Oracle()], DiffusionConfig(prediction="epsilon"), Condition(anatomy, 0), config)
    sample_volume(windows, 0)

set_up_cpu(1)
Oracle.config = Oracle.config.model_copy(update={"patch_vox": 32})
draw((32, 32, 64), sys.argv[1])
before = peak()
draw(tuple(map(int, sys.argv[2:])), sys.argv[1])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm-solver++", "unipc"])
def test_a_volume_takes_no_more_memory_than_the_formula_says(solver):
    command = [sys.executable, "-c", PROGRAM, solver, *map(str, SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken, stated = int(done.stdout), array_bytes(SIZE[0] * SIZE[1] * SIZE[2])
    assert 0.3 * stated < taken <= stated
