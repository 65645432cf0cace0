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

from meddiff.anatomy import demo_weights, official_weights
from meddiff.config import AnatomyConfig
from meddiff.errors import CaseError, UserError
from meddiff.machine.extras import require
from meddiff.machine.faults import machine_fault
from meddiff.machine.files import write_json
from meddiff.volumes import volumes

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
        require("totalsegmentator")
        home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meddiff-")))
        write_json(OFFLINE_SETTINGS, home / "config.json")
        weights = home / "weights" if self._config.weights == "demo" else official_weights.find(self._config)
        if self._config.weights == "demo":
            demo_weights.install(weights)
        places = {"TOTALSEG_HOME_DIR": str(home), "TOTALSEG_WEIGHTS_PATH": str(weights)}
        self._stack.enter_context(_environment(places))
        self._stack.enter_context(_no_download())
        self._stack.enter_context(_models_kept_in_memory())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def segment(self, ct: sitk.Image) -> np.ndarray:
        """Return the label map of an axis-aligned LPS volume: `zyx`, uint8, ids 0 to 117.

        Raises:
            CaseError: TotalSegmentator cannot handle this volume.
            UserError: the weights are damaged, or somebody has taken them away.
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
            raise UserError(f"TotalSegmentator stopped, exit code {error}; its reason is printed above") from error
        except Exception:
            if self._config.weights == "official":
                official_weights.find(self._config)  # that they are gone is no fault of the volume
            raise
        labels_zyx = _from_nifti(result)
        if labels_zyx.shape != ct.GetSize()[::-1]:
            raise CaseError(f"TotalSegmentator returned another size, {labels_zyx.shape}")
        return labels_zyx


def _to_nifti(ct: sitk.Image) -> nibabel.Nifti1Image:
    """Return a NIfTI with the same voxels; NIfTI's world is RAS, so x and y change sign."""
    affine = np.diag([-ct.GetSpacing()[0], -ct.GetSpacing()[1], ct.GetSpacing()[2], 1.0])
    affine[:3, 3] = np.array(ct.GetOrigin()) * (-1, -1, 1)
    return nibabel.Nifti1Image(volumes.to_zyx(ct).transpose(2, 1, 0), affine)


def _from_nifti(labels: nibabel.Nifti1Image) -> np.ndarray:
    return np.asarray(labels.dataobj).astype(np.uint8).transpose(2, 1, 0)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_download() -> Iterator[None]:
    """Keep TotalSegmentator from fetching weights by itself, which jobs at the same time would spoil for each other."""
    from totalsegmentator import python_api

    original = python_api.download_pretrained_weights
    python_api.download_pretrained_weights = lambda _: None
    try:
        yield
    finally:
        python_api.download_pretrained_weights = original


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
                with _damage_is_of_weights(args[0]):
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


@contextlib.contextmanager
def _damage_is_of_weights(model: str) -> Iterator[None]:
    """Blame the weights for what fails while they are loaded, before any volume is looked at.

    Raises:
        UserError: they are damaged; says which.
    """
    try:
        yield
    except Exception as error:  # a damaged file raises one of many types
        if machine_fault(error):
            raise
        folder = Path(model).parent
        raise UserError(
            f"the weights in {folder} cannot be loaded ({type(error).__name__}); delete this folder and run "
            "`meddiff weights`"
        ) from error
