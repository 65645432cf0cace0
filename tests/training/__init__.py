"""Tests of training, all with one small network."""

from meddiff.config import NetworkConfig

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, position_frequencies=2
)
