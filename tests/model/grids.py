"""Coordinates of a grid: each of the three varies along its own axis alone."""

import torch


def random_coordinates(batch, size_zyx, generator=None):
    """Return random places of a grid's planes along each axis, (B, 3, Z, Y, X) in the order x, y, z, in [-1, 1]."""
    z, y, x = (torch.rand(batch, size, generator=generator) * 2 - 1 for size in size_zyx)
    lines = (x[:, None, None, :], y[:, None, :, None], z[:, :, None, None])
    return torch.stack([line.expand(batch, *size_zyx) for line in lines], dim=1)
