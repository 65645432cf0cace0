"""HU windows and the scale [-1, 1] of the model (section 4.1)."""

import numpy as np

from meddiff.config import Window

AIR_HU = -1000.0  # by the definition of the Hounsfield unit


def clip_hu(hu: np.ndarray, window: Window) -> np.ndarray:
    """Return the HU values cut to the window, int16."""
    return np.clip(hu, window.low_hu, window.high_hu).astype(np.int16)


def normalise(hu: np.ndarray, window: Window) -> np.ndarray:
    """Return float32 in [-1, 1]: the window's lower end is -1, its upper end 1; values outside are clipped."""
    scaled = np.array(hu, np.float32)
    scaled -= np.float32(window.level_hu)
    scaled /= np.float32(window.width_hu / 2)
    return np.clip(scaled, -1, 1, out=scaled)


def air_hu(window: Window) -> int:
    """Return what air is in a window: -1,000 HU, or the lower end of a window that ends above it.

    It is what surrounds a region in training, in sampling and in every task.
    """
    return round(max(AIR_HU, window.low_hu))


def air_scaled(window: Window) -> float:
    """Return air in [-1, 1]: -1 but for windows that reach below it, as the chest's does (-0.556)."""
    return float(normalise(np.array(air_hu(window)), window))


def denormalise(scaled: np.ndarray, window: Window) -> np.ndarray:
    """Return HU, int16, of values in [-1, 1]."""
    hu = np.clip(scaled, -1, 1) * (window.width_hu / 2) + window.level_hu
    return np.round(hu).astype(np.int16)
