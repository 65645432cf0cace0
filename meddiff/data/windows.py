"""HU windows and the scale [-1, 1] of the model (section 4.1)."""

import numpy as np

from meddiff.config import Window


def clip_hu(hu: np.ndarray, window: Window) -> np.ndarray:
    """Return the HU values cut to the window, int16."""
    return np.clip(hu, window.low_hu, window.high_hu).astype(np.int16)


def normalise(hu: np.ndarray, window: Window) -> np.ndarray:
    """Return float32 in [-1, 1]: the window's lower end is -1, its upper end 1; values outside are clipped."""
    scaled = np.array(hu, np.float32)
    scaled -= np.float32(window.level_hu)
    scaled /= np.float32(window.width_hu / 2)
    return np.clip(scaled, -1, 1, out=scaled)


def denormalise(scaled: np.ndarray, window: Window) -> np.ndarray:
    """Return HU, int16, of values in [-1, 1]."""
    hu = np.clip(scaled, -1, 1) * (window.width_hu / 2) + window.level_hu
    return np.round(hu).astype(np.int16)
