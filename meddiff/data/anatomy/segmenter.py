"""Running the unmodified TotalSegmentator over many volumes, offline and in one process."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from meddiff.config import AnatomyConfig
from meddiff.data import volumes
from meddiff.data.anatomy import demo_weights
from meddiff.errors import CaseError, UserError
from meddiff.files import write_json

log = logging.getLogger(__name__)

SUPPORTED_VERSION = "2.18.0"
# Written before every start: no usage statistics, no disclaimer, so no network.
OFFLINE_SETTINGS = {
    "totalseg_id": "meddiff",
    "send_usage_stats": False,
    "prediction_counter": 0,
    "statistics_disclaimer_shown": True,
}


class Segmenter:
    """TotalSegmentator's task `total`, with its models loaded once.

    Use it as a context manager: it owns a temporary home folder for TotalSegmentator, one per process, because
    TotalSegmentator rewrites its settings after every run.
    """

    def __init__(self, config: AnatomyConfig, device: str) -> None:
        self._config = config
        self._device = "gpu" if device == "cuda" else device
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Segmenter":
        self._home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meddiff-")))
        write_json(OFFLINE_SETTINGS, self._home / "config.json")
        official = _official_weights()
        os.environ["TOTALSEG_HOME_DIR"] = str(self._home)
        if self._config.weights == "demo":
            demo_weights.install(self._home / "weights")
            os.environ["TOTALSEG_WEIGHTS_PATH"] = str(self._home / "weights")
        else:
            official.mkdir(parents=True, exist_ok=True)
            os.environ["TOTALSEG_WEIGHTS_PATH"] = str(official)
        self._stack.enter_context(_models_kept_in_memory())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def segment(self, ct: sitk.Image) -> np.ndarray:
        """Return the label map of an axis-aligned LPS volume: `zyx`, uint8, ids 0 to 117.

        Raises:
            CaseError: TotalSegmentator cannot handle this volume.
            UserError: the official weights are neither here nor to be had.
        """
        from totalsegmentator.python_api import totalsegmentator

        try:
            result = totalsegmentator(
                _to_nifti(ct),
                None,
                ml=True,
                fast=self._config.resolution == "fast",
                fastest=self._config.resolution == "fastest",
                device=self._device,
                quiet=True,
                nr_thr_saving=1,
                skip_saving=True,
            )
        except SystemExit as error:
            raise UserError(f"TotalSegmentator stopped: {error}; are its weights at {_official_weights()}?") from error
        except ConnectionError as error:
            raise UserError(
                "anatomy.weights official: TotalSegmentator's weights are not here and cannot be downloaded; "
                "run `totalseg_download_weights -t total` where there is a network, or set anatomy.weights: demo"
            ) from error
        labels_zyx = _from_nifti(result)
        if labels_zyx.shape != ct.GetSize()[::-1]:
            raise CaseError(f"TotalSegmentator returned another size, {labels_zyx.shape}")
        return labels_zyx


def _official_weights() -> Path:
    given = os.environ.get("TOTALSEG_WEIGHTS_PATH")
    return Path(given) if given else Path.home() / ".totalsegmentator" / "nnunet" / "results"


def _to_nifti(ct: sitk.Image) -> nibabel.Nifti1Image:
    """Return a NIfTI with the same voxels; NIfTI's world is RAS, so x and y change sign."""
    affine = np.diag([-ct.GetSpacing()[0], -ct.GetSpacing()[1], ct.GetSpacing()[2], 1.0])
    affine[:3, 3] = np.array(ct.GetOrigin()) * (-1, -1, 1)
    return nibabel.Nifti1Image(volumes.to_zyx(ct).transpose(2, 1, 0), affine)


def _from_nifti(labels: nibabel.Nifti1Image) -> np.ndarray:
    return np.asarray(labels.dataobj).astype(np.uint8).transpose(2, 1, 0)


@contextlib.contextmanager
def _models_kept_in_memory() -> Iterator[None]:
    """Let TotalSegmentator reuse loaded models and predict in this process.

    TotalSegmentator loads its model anew and starts worker processes for every volume, which for small volumes takes
    three times as long as the prediction. It has no setting for this, so its predictor class is replaced while the
    context lasts; with another version than the tested one it is left alone.
    """
    from importlib.metadata import version

    import totalsegmentator.nnunet as module
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    if version("TotalSegmentator") != SUPPORTED_VERSION:
        log.warning("TotalSegmentator %s: loading its model for each volume", version("TotalSegmentator"))
        yield
        return

    loaded: dict[tuple, dict] = {}

    class ReusedPredictor(nnUNetPredictor):
        def initialize_from_trained_model_folder(self, *args, **kwargs) -> None:  # noqa: ANN002, ANN003
            key = (*map(str, args), *(f"{k}={v}" for k, v in sorted(kwargs.items())))
            if key not in loaded:
                super().initialize_from_trained_model_folder(*args, **kwargs)
                loaded[key] = dict(self.__dict__)
            self.__dict__.update(loaded[key])

        def predict_from_files(self, source, target, save_probabilities=False, overwrite=True, **_):  # noqa: ANN001, ANN003, ANN202
            return self.predict_from_files_sequential(source, target, save_probabilities, overwrite)

    original = module.nnUNetPredictor
    module.nnUNetPredictor = ReusedPredictor
    try:
        yield
    finally:
        module.nnUNetPredictor = original
