"""The noise of one scan by frequency and place, measured in the scan itself, and the filters that know it.

A scan is cut into blocks of 8 x 8 x 8 voxels that overlap by half. The noise of CT is correlated, in the slice by the
kernel of the reconstruction and along z by overlapping slices, so that a block's noise has a spectrum. How it is spread
over the frequencies, the texture, is much the same all over a scan; how strong it is, the level, is not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from meddiff.errors import CaseError

BLOCK, STEP = 8, 4  # voxels; Choice: as BM4D's, overlapping by half
SOFT_TISSUE_HU = (-160.0, 240.0)  # means of the blocks that the texture is measured in
AIR_BELOW_HU = -950.0  # means of the blocks whose level says nothing
FLAT_SHARE, FLAT_SIGMA_VOX = 0.2, 2.0  # Choice: the flattest fifth, by what a Gaussian leaves in a block
FEWEST_BLOCKS, MOST_BLOCKS = 30, 4000
LEVEL_QUANTILE, LEVEL_REACH = 0.2, 4  # Choice: of blocks up to 16 voxels away; edges and vessels only add to a level
SIGNIFICANT = 6.0  # Choice: times the noise's power; one coefficient of noise in 400 has more

_PROFILE = torch.sin(torch.pi * (torch.arange(BLOCK) + 0.5) / BLOCK)  # its square adds up to 1 at half overlap
_WINDOW = _PROFILE[:, None, None] * _PROFILE[:, None] * _PROFILE
_SQUARE = _WINDOW**2
_AXES = (-3, -2, -1)
_ALONG_Z = torch.tensor([0, 1, 2, 3, 4, 3, 2, 1])  # frequencies of a spectrum's first axis
_COUNT = torch.tensor([1, 2, 2, 2, 1])  # how often a coefficient of the half spectrum stands in the whole one


@dataclass(frozen=True)
class NoiseSpectrum:
    """The power of a scan's noise in each coefficient of each block.

    Args:
        texture: the power at each frequency, (8, 8, 5), where the level is 1.
        level_ZYX: how strong the noise is in each block.
        std_hu: its standard deviation in soft tissue.
    """

    texture: Tensor
    level_ZYX: Tensor
    std_hu: float

    @classmethod
    def from_scan(cls, hu_zyx: np.ndarray) -> "NoiseSpectrum":
        """Measure the noise of a scan on its own grid.

        The texture is the median of flat blocks of soft tissue, divided by that of an exponential distribution, which
        the power of noise has. What anatomy such blocks have adds to it at low frequencies. Choice: so the texture is
        no more than the product of a spectrum along z and one in the plane, as slices that are reconstructed alone have
        it, of which the latter is measured at high frequencies along z. There the level is measured, too.

        Args:
            hu_zyx: the scan, not clipped to a window; voxels of any size, slices along the first axis.

        Raises:
            CaseError: there is too little soft tissue.
        """
        volume = _padded(hu_zyx)
        smooth = _padded(ndimage.gaussian_filter(hu_zyx.astype(np.float32), FLAT_SIGMA_VOX))
        mean_ZYX = torch.stack([_means(row) for row in _rows(volume)])
        soft_ZYX = (mean_ZYX > SOFT_TISSUE_HU[0]) & (mean_ZYX < SOFT_TISSUE_HU[1])
        places = soft_ZYX.nonzero()
        if len(places) < FEWEST_BLOCKS:
            raise CaseError("too little soft tissue to measure the noise in")
        order = torch.stack([_variances(row) for row in _rows(smooth)])[soft_ZYX].argsort()
        flattest = order[: max(FEWEST_BLOCKS, int(FLAT_SHARE * len(order)))]
        chosen = places[flattest[:: -(-len(flattest) // MOST_BLOCKS)]].tolist()
        texture, measuring = _texture(torch.stack([_spectra(_block(volume, place)).abs() ** 2 for place in chosen]))
        level_ZYX = torch.stack([_level(_spectra(row).abs() ** 2, texture, measuring) for row in _rows(volume)])
        level_ZYX = _local(level_ZYX, mean_ZYX > AIR_BELOW_HU)
        variance = (texture * _COUNT).sum() / (BLOCK**3 * _SQUARE.sum()) * level_ZYX[soft_ZYX].median()
        return cls(texture, level_ZYX, float(variance.sqrt()))

    def with_std(self, std_hu: float) -> "NoiseSpectrum":
        """Return noise of the same texture with another standard deviation in soft tissue.

        Raises:
            CaseError: no noise was found whose texture it could be.
        """
        if not self.std_hu:
            raise CaseError("no noise was found whose texture could be told")
        return replace(self, level_ZYX=self.level_ZYX * (std_hu / self.std_hu) ** 2, std_hu=std_hu)

    def significant(self, hu_zyx: np.ndarray) -> np.ndarray:
        """Return what of a volume such noise does not explain, float32 HU."""
        return _filtered(
            [hu_zyx], lambda row, spectra: (spectra[0].abs() ** 2 > SIGNIFICANT * self._power(row)).float()
        )

    def wiener(self, hu_zyx: np.ndarray, *pilots_zyx: np.ndarray) -> np.ndarray:
        """Return the scan after a Wiener filter, float32 HU; its signal is the mean of the powers of the pilots."""

        def gain(row: int, spectra: list[Tensor]) -> Tensor:
            signal = torch.stack([pilot.abs() ** 2 for pilot in spectra[1:]]).mean(0)
            return signal / (signal + self._power(row)).clamp(min=1e-9)

        return _filtered([hu_zyx, *pilots_zyx], gain)

    def _power(self, row: int) -> Tensor:
        """Return the power in the blocks of a row along z, (Y, X, 8, 8, 5)."""
        return self.texture * self.level_ZYX[row, ..., None, None, None]


def _filtered(volumes_zyx: list[np.ndarray], gain: Callable[[int, list[Tensor]], Tensor]) -> np.ndarray:
    """Return the first volume with its blocks' coefficients times a gain, float32; the mean of a block stays.

    Args:
        volumes_zyx: the volume, and others that the gain depends on.
        gain: of the number of a row of blocks along z, and the spectra of all volumes there.
    """
    volumes = [_padded(volume) for volume in volumes_zyx]
    result = torch.zeros_like(volumes[0])
    for row, blocks in enumerate(zip(*map(_rows, volumes), strict=True)):
        spectra = [_spectra(each) for each in blocks]
        changed = torch.fft.irfftn(spectra[0] * gain(row, spectra), s=(BLOCK,) * 3, dim=_AXES)
        mean = _means(blocks[0])[..., None, None, None]
        _add(changed * _WINDOW + mean * _SQUARE, result[row * STEP : row * STEP + BLOCK])
    return result[tuple(slice(STEP, STEP + n) for n in volumes_zyx[0].shape)].numpy()


def _padded(volume_zyx: np.ndarray) -> Tensor:
    """Return a volume mirrored at its ends, float32, so that each of its voxels lies in eight blocks."""
    sides = [(STEP, STEP + -n % STEP) for n in volume_zyx.shape]
    return torch.from_numpy(np.pad(volume_zyx.astype(np.float32), sides, mode="symmetric"))


def _rows(volume: Tensor) -> Iterator[Tensor]:
    """Give the blocks of each row along z, (Y, X, 8, 8, 8)."""
    for z in range(0, len(volume) - STEP, STEP):
        yield volume[z : z + BLOCK].unfold(1, BLOCK, STEP).unfold(2, BLOCK, STEP).permute(1, 2, 0, 3, 4)


def _block(volume: Tensor, place_zyx: list[int]) -> Tensor:
    return volume[tuple(slice(i * STEP, i * STEP + BLOCK) for i in place_zyx)]


def _add(blocks: Tensor, slab: Tensor) -> None:
    """Add the blocks of a row to where they lie, those that do not overlap at a time."""
    for y in range(2):
        for x in range(2):
            part = blocks[y::2, x::2]
            tiles = part.permute(2, 0, 3, 1, 4).reshape(BLOCK, BLOCK * part.shape[0], BLOCK * part.shape[1])
            slab[:, y * STEP : y * STEP + tiles.shape[1], x * STEP : x * STEP + tiles.shape[2]] += tiles


def _means(blocks: Tensor) -> Tensor:
    return (blocks * _SQUARE).sum(_AXES) / _SQUARE.sum()


def _centred(blocks: Tensor) -> Tensor:
    return blocks - _means(blocks)[..., None, None, None]


def _variances(blocks: Tensor) -> Tensor:
    return (_centred(blocks) ** 2 * _SQUARE).sum(_AXES)


def _spectra(blocks: Tensor) -> Tensor:
    return torch.fft.rfftn(_centred(blocks) * _WINDOW, dim=_AXES)


def _texture(powers_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the texture of blocks whose levels differ, and the coefficients that a level is measured by."""
    level_N = torch.ones(len(powers_N))
    for _ in range(2):
        level_N = _level(powers_N, *_capped(_typical(powers_N, level_N))).clamp(min=1e-3)
    return _capped(_typical(powers_N, level_N))


def _typical(powers_N: Tensor, level_N: Tensor) -> Tensor:
    return (powers_N / level_N[:, None, None, None]).median(0).values / np.log(2)


def _capped(power: Tensor) -> tuple[Tensor, Tensor]:
    """Return a spectrum, at most the product of one along z and one in the plane, and its strong coefficients."""
    high = _ALONG_Z >= 2
    in_plane = power[high].mean(0)
    strong = in_plane >= in_plane.median()
    ratios = [power[_ALONG_Z == k].mean(0)[strong] / in_plane[strong].clamp(min=1e-9) for k in range(BLOCK // 2 + 1)]
    along_z = torch.stack([ratio.quantile(0.5 if high[k] else 0.25) for k, ratio in enumerate(ratios)])
    product = along_z[_ALONG_Z][:, None, None] * in_plane
    return torch.minimum(power, product), high[:, None, None] & strong


def _level(powers: Tensor, texture: Tensor, measuring: Tensor) -> Tensor:
    return (powers[..., measuring] / texture[measuring].clamp(min=1e-6)).mean(-1)


def _local(level_ZYX: Tensor, known_ZYX: Tensor) -> Tensor:
    """Return a low quantile of the known levels around each block, linear between nodes; elsewhere the nearest."""
    level = torch.where(known_ZYX, level_ZYX, torch.nan).numpy()
    nodes = np.full([-(-n // LEVEL_REACH) for n in level.shape], np.nan, np.float32)
    for node in np.ndindex(nodes.shape):
        around = level[tuple(slice(max(0, (i - 1) * LEVEL_REACH), (i + 1) * LEVEL_REACH + 1) for i in node)]
        values = around[~np.isnan(around)]
        if len(values):
            nodes[node] = np.quantile(values, LEVEL_QUANTILE)
    nearest = ndimage.distance_transform_edt(np.isnan(nodes), return_distances=False, return_indices=True)
    places = np.stack(np.meshgrid(*[np.arange(n) / LEVEL_REACH for n in level.shape], indexing="ij"))
    return torch.from_numpy(ndimage.map_coordinates(nodes[tuple(nearest)], places, order=1, mode="nearest"))
