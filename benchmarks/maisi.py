"""Whole volumes beside MAISI-v2: seconds, peak memory and floating point operations of both.

MAISI's networks are MONAI's own classes at their published sizes, ours is the paper's network; all weights are random.
Its volume is 30 steps of U-Net and ControlNet and one pass of the decoder; embedding the mask is not counted. Ours is
drawn by the default for a model of v, by the recipe of the models that come with the package (on a CPU also in
integers), coarse to fine, and as a student of two steps is. Needs MONAI and no data; over an hour on a CPU, minutes on
a GPU, of which the default, at sizes of several windows, would take most, and is left out there; --quick counts
everything and times a small volume with a small network of ours.
"""

import torch
from measure import Call, Candidate, Row, arguments, compare, measure, report
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from meddiff.config import CoarseToFineConfig, Config, DiffusionConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.levels import planned_costs, tflop_of
from meddiff.diffusion.sampling import levels_of, sample_levels
from meddiff.diffusion.sliding import Condition, Network
from meddiff.machine.device import has_int8, set_up_cpu
from meddiff.model.graphed import Graphed
from meddiff.model.int8 import in_integers
from meddiff.model.unet import UNet

MAISI_STEPS = 30  # of rectified flow
LATENT_CHANNELS, DOWNSAMPLING, MASK_CHANNELS = 4, 4, 8
COUNTED, TIMED = (128, 192, 256, 512), (128, 192)  # edges of the volumes
FEW_STEPS = {"solver": "ddim", "spacing": "trailing", "steps": 2}  # as `FoundationModel.recipe` sets them for a student
RECIPES = {
    "the default": SamplingConfig(),
    "of the package's models": SamplingConfig(steps=2, last_noise=0.7, drawing_overlap=0.0625),
    "coarse to fine": SamplingConfig(sampler="coarse-to-fine"),
    "student of 2 steps, coarse to fine": SamplingConfig(
        sampler="coarse-to-fine", coarse_to_fine=CoarseToFineConfig(patch_noise=1.0)
    ).model_copy(update=FEW_STEPS),
}
PACKAGE = "of the package's models"
IN_INTEGERS = {f"{PACKAGE}, in integers": RECIPES[PACKAGE].model_copy(update={"int8": True})}  # on a CPU
CHEAP_RECIPES = {name: recipe for name, recipe in RECIPES.items() if name != "the default"}
SMALL = NetworkConfig(
    patch_vox=32, channels=16, channel_multipliers=(1, 2, 4), attention_levels=(2,), attention_heads=1
)
_SHARED = {
    "spatial_dims": 3,
    "in_channels": LATENT_CHANNELS,
    "num_channels": (64, 128, 256, 512),
    "attention_levels": (False, False, True, True),
    "num_head_channels": (0, 0, 32, 32),
    "num_res_blocks": 2,
    "use_flash_attention": torch.cuda.is_available(),  # refused elsewhere
    "num_class_embeds": 128,
    "resblock_updown": True,
    "include_fc": True,
}


class Maisi:
    """One volume of `size`^3 voxels: a step of U-Net and ControlNet, and the decoder, with autocast as it runs them.

    The decoder's convolutions are computed in so many parts, which saves memory.
    """

    def __init__(self, size: int, device: torch.device, decoder_parts: int = 1) -> None:
        self._precision = torch.float16 if device.type == "cuda" else torch.bfloat16
        self._device = device
        with device:
            self._unet = DiffusionModelUNetMaisi(out_channels=LATENT_CHANNELS, include_spacing_input=True, **_SHARED)  # type: ignore[arg-type]
            self._control = ControlNetMaisi(
                conditioning_embedding_in_channels=MASK_CHANNELS,
                conditioning_embedding_num_channels=(8, 32, 64),
                use_checkpointing=False,
                **_SHARED,  # type: ignore[arg-type]
            )
            self._decoder = AutoencoderKlMaisi(
                spatial_dims=3,
                in_channels=1,
                out_channels=1,
                latent_channels=LATENT_CHANNELS,
                num_channels=(64, 128, 256),
                num_res_blocks=(2, 2, 2),
                attention_levels=(False, False, False),
                num_splits=decoder_parts,
                dim_split=1,
                norm_float16=device.type == "cuda",
            )
        networks = (self._unet, self._control, self._decoder)
        self.parameters = [sum(p.numel() for p in network.eval().parameters()) for network in networks]
        self._latent = torch.randn(1, LATENT_CHANNELS, *(size // DOWNSAMPLING,) * 3, device=device)
        self._mask = torch.randn(1, MASK_CHANNELS, *(size,) * 3, device=device)
        self._t = torch.tensor([500], device=device)
        self._label = torch.ones(1, dtype=torch.int64, device=device)
        self._spacing = torch.full((1, 3), 100.0, device=device)

    @torch.inference_mode()
    def step(self) -> None:
        with torch.autocast(self._device.type, self._precision):
            downs, middle = self._control(self._latent, self._t, controlnet_cond=self._mask, class_labels=self._label)
            self._unet(
                self._latent,
                self._t,
                class_labels=self._label,
                spacing_tensor=self._spacing,
                down_block_additional_residuals=downs,
                mid_block_additional_residual=middle,
            )

    def step_is_done(self) -> None:
        """Give back what only the steps need, as its own program does before it decodes."""
        del self._unet, self._control, self._mask

    @torch.inference_mode()
    def decode(self) -> None:
        with torch.autocast(self._device.type, self._precision):
            self._decoder.decode_stage_2_outputs(self._latent)


def main() -> None:
    options = arguments(__doc__ or "")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [row for size in COUNTED for row in operations(size)]
    for size in (64,) if options.quick else TIMED:
        rows += timed(
            size, device, SMALL if options.quick else Config().network("meddiff-fm"), 1 if options.quick else 3
        )
    report("maisi", rows, options.json)


def operations(size: int) -> list[Row]:
    """Return the TFLOP of a volume of `size`^3 voxels, ours all body."""
    theirs, network = maisi_tflop(size), Config().network("meddiff-fm")
    rows = []
    for name, recipe in RECIPES.items():
        ours = tflop_of(planned_costs(recipe, "v", (size,) * 3, network), network)
        rows.append(compare(f"{size}^3, {name}", "TFLOP", ours, theirs, "maisi-v2"))
    return rows


def maisi_tflop(size: int) -> float:
    """Return the TFLOP of MAISI-v2's networks for a volume, counted without computing it."""
    counts = []
    with FakeTensorMode():
        maisi = Maisi(size, torch.device("cpu"))
        for call in (maisi.step, maisi.decode):
            with FlopCounterMode(display=False) as counter:
                call()
            counts.append(counter.get_total_flops() / 1e12)
    return MAISI_STEPS * counts[0] + counts[1]


def timed(size: int, device: str, config: NetworkConfig, repeats: int) -> list[Row]:
    """Return seconds and peak memory of a volume; MAISI's is 30 times a step, and its decoder."""
    candidates = {part: Candidate(maisi_part, (part, size, device)) for part in ("step", "decode")}
    recipes = (RECIPES if size <= config.patch_vox else CHEAP_RECIPES) | (IN_INTEGERS if has_int8(device) else {})
    candidates |= {name: Candidate(our_volume, (config, each, size, device)) for name, each in recipes.items()}
    found = measure(candidates, repeats)
    seconds = MAISI_STEPS * found["step"].seconds + found["decode"].seconds
    peak_mb = max(found["step"].peak_mb, found["decode"].peak_mb)
    rows = []
    for name in recipes:
        rows.append(compare(f"{size}^3, {name}", "seconds", found[name].seconds, seconds, "maisi-v2"))
        rows.append(compare(f"{size}^3, {name}", "peak MB", found[name].peak_mb, peak_mb, "maisi-v2"))
    return rows


def maisi_part(part: str, size: int, device: str) -> Call:
    """Return a step or the decoder of MAISI-v2."""
    set_up_cpu(torch.get_num_threads())
    return getattr(Maisi(size, torch.device(device)), part)


def our_volume(config: NetworkConfig, recipe: SamplingConfig, size: int, device: str) -> Call:
    """Return the drawing of a volume by our network, a whole region that is all body."""
    set_up_cpu(torch.get_num_threads())
    network = our_network(config, torch.device(device))
    if recipe.int8:
        in_integers(network)
    return lambda: draw(network, recipe, size)


def draw(network: Network, recipe: SamplingConfig, size: int) -> None:
    condition = Condition(torch.full((size,) * 3, 5, dtype=torch.uint8), 1)
    sample_levels(levels_of([network], DiffusionConfig(prediction="v"), condition, recipe), 0)


def our_network(config: NetworkConfig, device: torch.device) -> Network:
    """Return a network with random weights as a sampler has it."""
    torch.manual_seed(0)
    network = UNet(config).eval().to(device, torch.bfloat16, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return Graphed(network) if device.type == "cuda" else network


if __name__ == "__main__":
    main()
