"""The size of a network, part by part."""

import pytest
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.config import Config, NetworkConfig
from meddiff.model.blocks import parameter_count
from meddiff.model.info import parts
from meddiff.model.unet import UNet

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, anatomy_channels=5,
    position="none",
)  # fmt: skip


def test_the_parts_add_up_to_the_network():
    assert sum(part.parameters for part in parts(SMALL)) == parameter_count(UNet(SMALL))


def test_flops_are_two_for_each_multiply_add():
    flops = {part.name: part.flops for part in parts(SMALL)}
    voxels, kernel = 16**3, 27
    assert flops["condition part of the first convolution"] == 2 * voxels * kernel * 5 * 8
    assert flops["first and last convolution"] == 2 * voxels * kernel * 8 * 2
    convolutions = kernel * (2 * 8 * 8 + (24 + 16) * 8 + 2 * 8 * 8) + (24 + 16) * 8  # down; up: both blocks; skips
    resampling = kernel * 8 * 8 / 8 + 64 * 16 * 16 / 8
    times = 3 * 32 * 8  # the time embedding of each block, once for all voxels
    folding = 64 * 27 * 16 * 16  # of the kernel of upsampling
    assert flops["level 0, 16^3 x 8"] == 2 * (voxels * (convolutions + resampling) + times + folding)


def test_the_papers_network_by_command():
    result = CliRunner().invoke(app, ["model", "info", "config/paper.yaml"])
    assert result.exit_code == 0
    (total,) = (line.split() for line in result.stdout.splitlines() if line.startswith("all "))
    assert int(total[1].replace(",", "")) == sum(part.parameters for part in parts(Config().network("meddiff-fm")))
    assert float(total[2].replace(",", "")) == pytest.approx(2342.02)
