"""Synthesis (section 3.4): anatomy and region in, a CT of any size out."""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from meddiff.config import MODEL_REGIONS, Region, SamplingConfig, Window
from meddiff.data import volumes
from meddiff.data.shards import Item, Row, run_shard
from meddiff.data.store import Record
from meddiff.data.windows import denormalise
from meddiff.device import choose_device
from meddiff.diffusion.sampling import SavedState, sample_volume
from meddiff.diffusion.sliding import Condition, Cost, SlidingWindows
from meddiff.errors import UserError
from meddiff.files import digest, sha256
from meddiff.model.foundation import WEIGHTS, MedDiffFM, find_bundle
from meddiff.model.info import window_flops
from meddiff.model.unet import UNet


@dataclass(frozen=True)
class Drawing:
    """A synthetic CT and how it was made.

    Args:
        hu_zyx: int16, within the region's window.
        borders_zyx: planes along each axis where a window of the last step began or ended.
        cost: what the network had to do.
        tflop: the floating point operations of that, in 10^12.
    """

    hu_zyx: np.ndarray
    borders_zyx: list[list[int]]
    cost: Cost
    tflop: float

    def facts(self) -> dict[str, Any]:
        """Return all but the voxels, as a JSON value."""
        return {"borders_zyx": self.borders_zyx, **vars(self.cost), "tflop": self.tflop}


class Synthesizer:
    """A model ready to draw: loaded in the configured precision, on every device that shares the work.

    Args:
        bundle: folder of a model bundle, or its id on the Hugging Face hub.
        config: solver, steps, windows.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: there is no such bundle, or there are fewer GPUs than configured.
    """

    def __init__(self, bundle: Path | str, config: SamplingConfig, device: str) -> None:
        folder = find_bundle(bundle)
        precision = torch.bfloat16 if config.bfloat16 else torch.float32
        self.model = MedDiffFM.from_pretrained(folder, choose_device(device), precision)
        self.weights = folder / WEIGHTS
        self._config = config = self.model.recipe(config)
        self.networks = _on_every_device(self.model.network, config)
        self._identity = [sha256(self.weights), config.model_dump(mode="json")]

    def synthesize(self, anatomy_zyx: np.ndarray, region: Region, window: Window, seed: int, out: Path) -> Drawing:
        """Return a synthetic CT with the given anatomy.

        Args:
            anatomy_zyx: label ids, uint8.
            region: what the volume shows.
            window: the region's HU window.
            seed: of the noise.
            out: where the CT will go; a long volume keeps its state beside it.
        """
        condition = Condition(torch.from_numpy(anatomy_zyx), MODEL_REGIONS.index(region))
        windows = SlidingWindows(self.networks, self.model.diffusion, condition, self._config, seed)
        identity = digest([self._identity, region, seed, hashlib.sha256(anatomy_zyx.tobytes()).hexdigest()])
        saved = SavedState(out.with_name(f"{out.name}.state.pt"), identity)
        name = f"{self.model.name} {region}"
        volume = sample_volume(windows, seed, name, saved)
        per_estimate, per_encoding = window_flops(self.model.network.config)
        tflop = (windows.cost.estimates * per_estimate + windows.cost.encodings * per_encoding) / 1e12
        borders_zyx = windows.borders_zyx(self._config.steps - 1)
        return Drawing(denormalise(volume.numpy(), window), borders_zyx, windows.cost, tflop)


def synthesize_mask(synthesizer: Synthesizer, mask: sitk.Image, region: Region, seed: int, out: Path) -> None:
    """Write a synthetic CT on the grid of an anatomy mask."""
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(mask.GetDirection())
    oriented = sitk.DICOMOrient(mask, "LPS")
    window = synthesizer.model.windows.of(region)
    drawing = synthesizer.synthesize(volumes.to_zyx(oriented), region, window, seed, out)
    volumes.write_image(sitk.DICOMOrient(volumes.like(drawing.hu_zyx, oriented), code), out)


def synthesize_records(
    synthesizer: Synthesizer, rows: list[Row], settings: str, seed: int, out: Path, index: Path
) -> None:
    """Write a synthetic twin of every given record, on its grid; records done before are skipped."""
    records = {row.id: Record(row.path.parent) for row in rows}

    def work(item: Item) -> dict[str, Any]:
        record = records[item.id]
        case_seed = int(digest([seed, item.id]), 16) >> 1
        meta = record.meta
        drawing = synthesizer.synthesize(record.anatomy[:], meta.region, meta.window, case_seed, item.output)
        volumes.write_image(record.as_image(drawing.hu_zyx), item.output)
        return {"seed": case_seed, **drawing.facts()}

    items = [Item(row.id, (row.path, synthesizer.weights), out / f"{row.id}.nii.gz") for row in rows]
    run_shard(f"synthesize {synthesizer.model.name}", items, settings, work, index)


def held_out_rows(rows: list[Row]) -> list[Row]:
    """Return the stored regions of the pretraining datasets' test split."""
    metas = ((row, Record(row.path.parent).meta) for row in rows)
    return [row for row, meta in metas if meta.role == "pretraining" and meta.split == "test"]


def _on_every_device(network: UNet, config: SamplingConfig) -> list[UNet]:
    networks = [network]
    if next(network.parameters()).is_cuda:
        if config.gpus > torch.cuda.device_count():
            raise UserError(f"sampling.gpus is {config.gpus} and torch sees {torch.cuda.device_count()}")
        networks += [copy.deepcopy(network).to(f"cuda:{number}") for number in range(1, config.gpus)]
    if config.compile:
        for each in networks:
            each.compile()
    return networks
