"""What a trained model is used for, what it is compared with, and how results are judged."""

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from meddiff.config.base import Fraction, Section


class Recipe(NamedTuple):
    """A solver with its number of steps, and which timesteps these are."""

    solver: str
    steps: int
    spacing: str


class CoarseToFineConfig(Section):
    """Drawing at the levels that a model is trained on, the whole region first; noise is sigma / alpha of a volume."""

    double_steps: int = Field(default=6, ge=1, description="Steps at the double level [Choice].")
    double_noise: float = Field(
        default=1.0, gt=0, description="Noise that the drawn region is given where the double level begins [Choice]."
    )
    patch_steps: int = Field(default=4, ge=1, description="Steps at the level of patches, which cost most [Choice].")
    patch_noise: float = Field(
        default=0.6, gt=0, description="Noise that the volume is given where the level of patches begins [Choice]."
    )
    overlap: float = Field(default=0.25, ge=0, lt=1, description="Overlap of windows that are averaged [Choice].")


class SamplingConfig(Section):
    sampler: Literal["sliding-windows", "coarse-to-fine", "preview"] = Field(
        default="sliding-windows",
        description="A region is drawn patch by patch [3.3, Fig. 4], or first as a whole in one window, then finer at "
        "the other levels of [3.2], in a fraction of the windows; `preview` leaves it at the one window [Choice].",
    )
    solver: Literal["auto", "ddpm", "ddim", "dpm-solver++", "unipc"] = Field(
        default="auto",
        description="`auto` is the paper's ddpm for a model that estimates the noise, and "
        "dpm-solver++ for one of v or x_0, of which few steps are shown to do [Choice: benchmarks/README.md].",
    )
    steps: int | None = Field(default=None, ge=1, description="Solver steps; none: 1,000 of ddpm [4.1], 10 of another.")
    spacing: Literal["auto", "trailing", "log-snr"] = Field(
        default="auto",
        description="Which timesteps: even in t from pure noise on, or even in the log of signal over noise; `auto` is "
        "`log-snr` for dpm-solver++, which alone knows it [Choice].",
    )
    last_noise: float = Field(
        default=0.02,
        gt=0,
        description="Noise before the last step of `log-snr`, sigma / alpha; what is finer comes out as its mean, "
        "which is better where a small model draws grain [Choice: docs/methods.md].",
    )
    clip_x0: bool = Field(default=True, description="Clip every estimate of x_0 to [-1, 1] [Choice].")
    windows: Literal["averaged", "fitted", "shifted"] = Field(
        default="averaged",
        description="Overlapping windows, averaged [3.3, Fig. 4]; the same, with edges of four fifths to five "
        "quarters of a patch, as fits the volume; or side by side, elsewhere at each step [Choice].",
    )
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="Least overlap of windows that are averaged [3.3, Fig. 4; share: Choice]."
    )
    drawing_overlap: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="That of the windows of a region that is drawn from noise, which are then `fitted` and told of "
        "each other by the anatomy; none: as the other windows [Choice: benchmarks/README.md].",
    )
    skip_air: bool = Field(default=True, description="Windows without any anatomy are air, not computed [Choice].")
    bfloat16: bool = Field(
        default=True,
        description="Network in bfloat16 where the device is made for it; the volume stays float32 [Choice].",
    )
    int8: bool = Field(
        default=False,
        description="The large convolutions of a network in bfloat16 as integers of eight bits, on a CPU that is made "
        "for it: faster where layers are as wide as the paper's [Choice: benchmarks/README.md].",
    )
    coarse_to_fine: CoarseToFineConfig = Field(
        default=CoarseToFineConfig(),
        description="For `sampler: coarse-to-fine`, whose first level takes `steps`.",
    )

    @model_validator(mode="after")
    def _check(self) -> "SamplingConfig":
        is_free = self.solver in ("auto", "dpm-solver++") and self.spacing in ("auto", "log-snr")
        if self.sampler == "coarse-to-fine" and not is_free:
            raise ValueError(
                f"sampler coarse-to-fine with solver {self.solver}, spacing {self.spacing}: leave both at auto, since "
                "dpm-solver++ alone begins with any noise"
            )
        if self.spacing == "log-snr" and self.solver != "dpm-solver++":
            raise ValueError(
                f"spacing log-snr with solver {self.solver}: set solver dpm-solver++, which alone knows it"
            )
        if self.int8 and not self.bfloat16:
            raise ValueError("int8 without bfloat16: set bfloat16 to true, since all other layers compute in it")
        return self

    def recipe(self, prediction: str) -> Recipe:
        """Return how a model that estimates `epsilon`, `v` or `sample` is sampled."""
        solver, steps, spacing = self.solver, self.steps, self.spacing
        if solver == "auto":
            is_ancestral = prediction == "epsilon" and self.sampler == "sliding-windows"
            solver = "ddpm" if is_ancestral else "dpm-solver++"
        if steps is None:
            steps = 1000 if solver == "ddpm" else 10
        if spacing == "auto":
            spacing = "log-snr" if solver == "dpm-solver++" else "trailing"
        return Recipe(solver, steps, spacing)


SUPERVISED = "fully supervised (nnU-Net)"  # a row of Table 5


class DenoisingConfig(Section):
    method: Literal["guided", "reverse", "diffpir", "one-step"] = Field(
        default="guided",
        description="A filter of the scan's own noise that the model guides [Choice: docs/denoising.md], the scan as "
        "x_t and its reverse process [3.4], DiffPIR [v3], or x_0 at once.",
    )
    reverse_steps: int = Field(default=50, ge=1, description="Steps of the reverse process [4.3].")
    diffpir_steps: int = Field(
        default=10, ge=1, description="Steps of DiffPIR from the scan's noise down to 0 [Choice]."
    )
    diffpir_lambda: float = Field(default=10.0, gt=0, description="Weight of the prior in DiffPIR [v3].")
    diffpir_zeta: Fraction = Field(default=0.1, description="Share of fresh noise in DiffPIR [its published value].")


class AnomalyConfig(Section):
    lung_timesteps: tuple[int, ...] = Field(default=(900, 950), description="t of the noise in lungs [Table 5].")
    liver_timesteps: tuple[int, ...] = Field(default=(800, 900), description="t of the noise in the liver [Table 5].")
    draws: int = Field(default=1, ge=1, description="Draws of the noise, averaged [the paper: 1].")
    closing_mm: float = Field(
        default=10.0, ge=0, description="Closing of the organ's mask, which lesions leave holes in [Choice]."
    )


class EvaluationConfig(Section):
    network: Literal["resnet10", "resnet18", "resnet34", "resnet50"] = Field(
        default="resnet50", description="MedicalNet's 3-D ResNet [4.1; depth: Choice, as HA-GAN and WDM]."
    )
    weights: Literal["medicalnet", "auto", "random"] = Field(
        default="medicalnet",
        description="MedicalNet's weights; `auto` falls back to seeded random ones without network, and says so.",
    )
    feature_vox: int = Field(default=128, ge=16, description="Edge of the cube that the feature network sees [Choice].")
    tiles: int = Field(
        default=1, ge=1, description="FID and MMD over tiles^3 parts of each scan; 1 is the scan as a whole [Choice]."
    )
    ms_ssim_scales: int = Field(
        default=5, ge=1, le=5, description="Scales of MS-SSIM; small volumes have room for few [Choice]."
    )
    bootstrap_draws: int = Field(default=1000, ge=1, description="Draws of the 95 % intervals over cases [Choice].")


class NnUNetConfig(Section):
    """nnU-Net, which learns to segment lesions from labels alone; the defaults are nnU-Net's own."""

    epochs: int = Field(default=1000, ge=1, description="Epochs of training [nnU-Net's default].")
    iterations: int = Field(default=250, ge=1, description="Optimizer steps per epoch [nnU-Net's default].")
    small: bool = Field(
        default=False,
        description="A small network with Adam, for the demo: 4 stages, 32^3 patches, 2 per step "
        "[Choice: what nnU-Net plans].",
    )
