"""The configuration: one tree, whose defaults are the numbers of the paper.

Each field names its source in brackets: a section or equation of the paper, or `Choice` where the paper is
silent. `config/README.md` and `config/paper.yaml` are generated from this module (`meddiff config --write`).
"""

from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from meddiff.errors import UserError


class Region(StrEnum):
    """Anatomical regions (section 3.2); a whole-body scan is split into the other three."""

    HAN = "han"
    CHEST = "chest"
    ABDOMEN = "abdomen"
    WHOLE_BODY = "whole_body"


MODEL_REGIONS = (Region.HAN, Region.CHEST, Region.ABDOMEN)
PositionMode = Literal["none", "coordinates", "embedding"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Organ(StrEnum):
    """Organs in which anomalies are looked for (section 4.3)."""

    LUNG = "lung"
    LIVER = "liver"


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnySection = TypeVar("AnySection", bound=Section)


class DatasetConfig(Section):
    """One dataset to prepare; what is left out comes from the registry (`meddiff datasets`)."""

    name: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="A name of the registry, or a new one.")
    root: Path | None = Field(
        default=None, description="Folder with the dataset; demo and phantom data have their own."
    )
    region: Region | None = Field(default=None, description="What the scans show; `whole_body` scans are split.")
    image: str | None = Field(
        default=None, description="Glob of one entry per case below the root; default: every entry."
    )


class DataConfig(Section):
    datasets: tuple[DatasetConfig, ...] = Field(default=(), description="Datasets of this run [Table 1].")
    shards: int = Field(default=84, ge=1, description="Jobs per preparation stage; about 64 cases each [Choice].")
    spacing_mm: float = Field(default=1.0, gt=0, description="Isotropic voxel spacing [4.1].")
    split: tuple[Fraction, Fraction, Fraction] = Field(
        default=(0.90, 0.05, 0.05), description="Shares of train, val and test [4.1]."
    )

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split {self.split} adds up to {sum(self.split):g}; make it 1")
        names = [dataset.name for dataset in self.datasets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"datasets {', '.join(sorted(twice))} are listed twice; keep one")
        return self


class AnatomyConfig(Section):
    weights: Literal["official", "demo"] = Field(
        default="official", description="TotalSegmentator's own weights [4.1], or this project's small demo weights."
    )
    resolution: Literal["full", "fast", "fastest"] = Field(
        default="full", description="TotalSegmentator's model for 1.5, 3 or 6 mm; the demo weights are a 6 mm model."
    )
    body_threshold_hu: float = Field(default=-300.0, description="Threshold of the 118th class, the body [Choice].")
    demo_epochs: int = Field(
        default=150, ge=1, description="Training of the demo weights, 50 iterations an epoch [Choice]."
    )
    demo_phantoms: int = Field(default=2, ge=1, description="Phantoms of each kind in their training [Choice].")

    @model_validator(mode="after")
    def _check(self) -> "AnatomyConfig":
        if self.weights == "demo" and self.resolution != "fastest":
            raise ValueError(f"weights demo with resolution {self.resolution}: they are a 6 mm model; set fastest")
        return self


class RegionsConfig(Section):
    margin_mm: float = Field(default=20.0, ge=0, description="Space kept around lungs, liver and body [Choice].")
    max_cut: Fraction = Field(
        default=0.5,
        description="A region is dropped when its organ is cut off by the scan's end by more than this [Choice].",
    )
    min_organ_ml: float = Field(
        default=150.0, ge=0, description="Smallest lungs, liver or brain that define a region [Choice]."
    )


class Window(Section):
    level_hu: float = Field(description="Centre of the window.")
    width_hu: float = Field(gt=0, description="Width of the window.")

    @property
    def low_hu(self) -> float:
        return self.level_hu - self.width_hu / 2

    @property
    def high_hu(self) -> float:
        return self.level_hu + self.width_hu / 2


class WindowsConfig(Section):
    han: Window = Field(default=Window(level_hu=50, width_hu=400), description="Head and neck [4.1].")
    chest: Window = Field(default=Window(level_hu=-500, width_hu=1800), description="Chest [4.1].")
    abdomen: Window = Field(default=Window(level_hu=60, width_hu=360), description="Abdomen [4.1].")

    def of(self, region: Region) -> Window:
        return getattr(self, region.value)


class ModelConfig(Section):
    patch_vox: int = Field(default=128, ge=8, description="Edge of the cubic patch [4.1].")
    channels: int = Field(default=32, ge=8, description="Model channels [4.1].")
    channel_multipliers: tuple[int, ...] = Field(
        default=(1, 2, 4, 8),
        description="Channels of each level, as multiples [Choice: 16^3 is the fourth level of 128^3].",
    )
    blocks_per_level: int = Field(default=1, ge=1, description="Residual blocks per level [4.1].")
    attention_levels: tuple[int, ...] = Field(
        default=(3,), description="Levels with a spatial transformer, 0 is full resolution [4.1: at 16^3]."
    )
    attention_heads: int = Field(default=4, ge=1, description="Heads of the spatial transformer [Choice].")
    norm_groups: int = Field(default=8, ge=1, description="Groups of the group normalisation [Choice].")
    anatomy_channels: int = Field(default=8, ge=1, description="Size of the learned embedding of c_a [Choice].")
    position_frequencies: int = Field(default=6, ge=1, description="L of Eq. 5 [Choice: more would alias at 128^3].")

    @property
    def divisor(self) -> int:
        """Every side of a window is a multiple of this."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.patch_vox % self.divisor:
            raise ValueError(
                f"patch_vox {self.patch_vox} is not a multiple of {self.divisor}, the downsampling of "
                f"{len(self.channel_multipliers)} levels; choose {self.patch_vox // self.divisor * self.divisor}"
            )
        if self.channels % self.norm_groups:
            raise ValueError(f"channels {self.channels} is not a multiple of norm_groups {self.norm_groups}")
        if bad := [level for level in self.attention_levels if not 0 <= level < len(self.channel_multipliers)]:
            raise ValueError(
                f"attention_levels {bad} do not exist; there are levels 0 to {len(self.channel_multipliers) - 1}"
            )
        return self


class NetworkConfig(ModelConfig):
    """A network as it is stored with its weights: the model and the variant's position mode."""

    position: PositionMode = "embedding"


class DiffusionConfig(Section):
    timesteps: int = Field(default=1000, ge=2, description="T [4.1]; the noise schedule is the cosine one [4.1].")
    prediction: Literal["epsilon", "v", "sample"] = Field(
        default="epsilon", description="What the network estimates [Eq. 1: the noise]."
    )


class LevelWeights(Section):
    """How often each kind of input is drawn (section 3.2: one of three at random)."""

    image: float = Field(default=1 / 3, ge=0, description="The whole region, resized to the patch [v3: 1/3].")
    double: float = Field(default=1 / 3, ge=0, description="A crop of twice the patch, resized [v3: 1/3].")
    patch: float = Field(default=1 / 3, ge=0, description="A crop of the patch size [v3: 1/3].")

    @model_validator(mode="after")
    def _check(self) -> "LevelWeights":
        if self.image + self.double + self.patch <= 0:
            raise ValueError("levels image, double and patch are all 0; give one a weight")
        return self


class TrainingConfig(Section):
    steps: int = Field(
        default=181_000, ge=1, description="Optimizer steps [4.1: 150 epochs of 4,838 scans at 4 per step]."
    )
    batch_size: int = Field(default=1, ge=1, description="Patches per forward pass [4.1].")
    accumulation: int = Field(default=4, ge=1, description="Forward passes per optimizer step [4.1].")
    learning_rate: float = Field(default=1e-4, gt=0, description="Adam [4.1].")
    learning_rate_decay: Literal["constant", "cosine"] = Field(default="constant", description="[4.1 names no decay.]")
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up [Choice].")
    ema_decay: float = Field(default=0.9999, ge=0, lt=1, description="Moving average of the weights [Choice].")
    gradient_clip_norm: float = Field(default=1.0, gt=0, description="Largest gradient norm [Choice].")
    spike_factor: float = Field(
        default=10.0, gt=1, description="A step whose loss is this many times the usual one is skipped [Choice]."
    )
    activation_checkpointing: bool = Field(default=False, description="Less memory, a third more time [Choice].")
    processes: int = Field(
        default=1, ge=1, description="Processes of torchrun, one per GPU, that share every step [Choice]."
    )
    bfloat16: bool = Field(default=True, description="Autocast to bfloat16; weights stay float32 [Choice].")
    workers: int = Field(default=4, ge=0, description="Processes that read patches [Choice].")
    checkpoint_minutes: float = Field(default=30.0, gt=0, description="Time between checkpoints [Choice].")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept [Choice].")
    status_seconds: float = Field(default=60.0, gt=0, description="Time between status lines [Choice].")
    validate_every: int = Field(default=1000, ge=1, description="Steps between validations [Choice].")
    validation_patches: int = Field(default=8, ge=1, description="Patches of each region and level [Choice].")
    sample_every: int = Field(default=10_000, ge=1, description="Steps between sample images [Choice].")

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.accumulation % self.processes:
            raise ValueError(
                f"accumulation {self.accumulation} cannot be shared by processes {self.processes}; choose a multiple"
            )
        return self


class DistillationConfig(Section):
    """Progressive distillation of a trained model; what is not here is as in `training`."""

    steps: int = Field(default=8, ge=1, description="Sampling steps of the few-step model [Choice].")
    first_steps: int = Field(
        default=64, ge=2, description="Sampling steps of the trained model, which are halved and halved again [Choice]."
    )
    training_steps: int = Field(default=10_000, ge=1, description="Optimizer steps of each halving [Choice].")
    learning_rate: float = Field(default=1e-4, gt=0, description="Adam; decays to 0 over each halving [Choice].")

    @model_validator(mode="after")
    def _check(self) -> "DistillationConfig":
        ratio, rest = divmod(self.first_steps, self.steps)
        if rest or ratio < 2 or ratio & (ratio - 1):
            raise ValueError(
                f"first_steps {self.first_steps} halved again and again does not lead to steps {self.steps}; "
                f"choose {2 * self.steps}, {4 * self.steps} or {8 * self.steps}"
            )
        return self


class VariantConfig(Section):
    """One model of the comparison: what it is told about position, and on which inputs it is trained."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="Name in the tables and folders.")
    position: PositionMode = Field(default="embedding", description="Nothing, p_c of Eq. 3, or p_e of Eq. 5 [3.3].")
    levels: LevelWeights = Field(default=LevelWeights(), description="Multi-level input [3.2].")


MEDDIFF_FM = VariantConfig(name="meddiff-fm")
DDPM = VariantConfig(name="ddpm", position="none", levels=LevelWeights(image=0, double=0, patch=1))
# The rows of v3's ablation, each with one thing more than the next: the embedding, coordinates, several levels.
ABLATION = (
    MEDDIFF_FM,
    VariantConfig(name="coordinates", position="coordinates"),
    VariantConfig(name="multi-level", position="none"),
    DDPM,
)


class SamplingConfig(Section):
    solver: Literal["ddpm", "ddim", "dpm-solver++", "unipc"] = Field(
        default="dpm-solver++", description="A diffusers scheduler [Choice: benchmarks/README.md]."
    )
    steps: int = Field(default=10, ge=1, description="Solver steps; the paper's ancestral sampling is ddpm with 1,000.")
    spacing: Literal["trailing", "leading", "linspace"] = Field(
        default="trailing", description="Which timesteps; trailing begins with pure noise [Choice]."
    )
    clip_x0: bool = Field(default=True, description="Clip every estimate of x_0 to [-1, 1] [Choice].")
    windows: Literal["averaged", "shifted"] = Field(
        default="averaged",
        description="Overlapping windows, averaged [3.3, Fig. 4], or side by side, elsewhere at each step [Choice].",
    )
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="Overlap of windows that are averaged [3.3, Fig. 4; share: Choice]."
    )
    cache_conditions: bool = Field(
        default=True, description="Encode the conditions of windows that stay once, as far as the memory goes [Choice]."
    )
    skip_air: bool = Field(default=True, description="Windows without any anatomy are air, not computed [Choice].")
    windows_per_batch: int = Field(default=4, ge=1, description="Windows per forward pass [Choice].")
    bfloat16: bool = Field(default=True, description="Network in bfloat16; the volume stays float32 [Choice].")
    compile: bool = Field(default=False, description="Use torch.compile; needs a C++ compiler [Choice].")
    memory_gb: float = Field(
        default=8, gt=0, description="For a volume's arrays and, with what is left, its encoded conditions [Choice]."
    )
    save_every_steps: int = Field(default=10, ge=1, description="Steps between saved states of a volume [Choice].")
    gpus: int = Field(default=1, ge=1, description="GPUs that share the windows of a volume [Choice].")
    shards: int = Field(default=20, ge=1, description="Jobs per model [Choice].")


# The rows of Table 4 that are run here; `ldct` is the noisy scan itself.
DENOISERS = (
    *("ldct", "median", "gaussian", "bilateral", "bm3d", "red-cnn"),
    *("meddiff-fm-reverse", "meddiff-fm-diffpir", "meddiff-fm-one-step"),
)

SUPERVISED = "fully supervised (nnU-Net)"  # a row of Table 5


class DenoisingConfig(Section):
    method: Literal["reverse", "diffpir", "one-step"] = Field(
        default="diffpir", description="The scan as x_t and its reverse process [3.4], DiffPIR [v3], or x_0 at once."
    )
    sigma_n: float = Field(
        default=0.15, gt=0, description="Noise of the scan in units of half the HU window [v3; 27 HU in the abdomen]."
    )
    reverse_steps: int = Field(default=50, ge=1, description="Steps of the reverse process [4.3].")
    diffpir_steps: int = Field(default=10, ge=1, description="Steps of DiffPIR from sigma_n down to 0 [Choice].")
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
    network: Literal["resnet10", "resnet50"] = Field(default="resnet50", description="MedicalNet's 3-D ResNet [4.1].")
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


class LowDoseConfig(Section):
    """Low-dose scans simulated from normal-dose ones, where no dataset has real ones."""

    scans: int = Field(default=20, ge=1, description="Regions of each split that are simulated [Choice].")
    dose: float = Field(default=0.25, gt=0, lt=1, description="Share of the full dose [Table 4: Mayo's quarter dose].")
    photons: float = Field(
        default=1e5,
        gt=0,
        description="Photons per ray at full dose, before the body "
        "[Choice: TIGRE's clinical value; an abdomen of 1 mm voxels gets the 23 dB of Table 4].",
    )
    electronic_noise: float = Field(
        default=10.0, ge=0, description="Standard deviation of the detector's noise, in photons [Choice: TIGRE's]."
    )


class RedCnnConfig(Section):
    """The supervised denoiser of Table 4 (Chen et al. 2017)."""

    width: int = Field(default=96, ge=1, description="Channels [Chen et al. 2017].")
    steps: int = Field(default=100_000, ge=1, description="Optimizer steps [Choice].")
    batch_size: int = Field(default=16, ge=1, description="Patches of 55 x 55 per step [Choice].")


class NnUNetConfig(Section):
    """nnU-Net, which learns to segment lesions from labels alone; the defaults are nnU-Net's own."""

    epochs: int = Field(default=1000, ge=1, description="Epochs of training [nnU-Net's default].")
    iterations: int = Field(default=250, ge=1, description="Optimizer steps per epoch [nnU-Net's default].")
    small: bool = Field(
        default=False,
        description="A small network with Adam, for the demo: 4 stages, 32^3 patches, 2 per step "
        "[Choice: what nnU-Net plans].",
    )


class Config(Section):
    output_dir: Path = Field(default=Path("results"), description="Where everything is written.")
    seed: int = Field(default=0, ge=0, description="Seed of the split, training and sampling.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto` is the GPU where there is one.")
    data: DataConfig = Field(default=DataConfig(), description="Datasets and resampling.")
    anatomy: AnatomyConfig = Field(default=AnatomyConfig(), description="Anatomical structures c_a.")
    regions: RegionsConfig = Field(default=RegionsConfig(), description="Splitting whole-body scans.")
    windows: WindowsConfig = Field(default=WindowsConfig(), description="HU window of each region.")
    model: ModelConfig = Field(default=ModelConfig(), description="The denoising U-Net.")
    diffusion: DiffusionConfig = Field(default=DiffusionConfig(), description="The diffusion process.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="Pretraining.")
    distillation: DistillationConfig = Field(default=DistillationConfig(), description="The few-step model.")
    ablation: Literal["ends", "full"] = Field(
        default="ends", description="Rows of v3's ablation, unless `models` are given: first and last, or all four."
    )
    models: tuple[VariantConfig, ...] = Field(
        default=(MEDDIFF_FM, DDPM), description="Models to train and compare [Table 3]."
    )
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="Whole-volume sampling.")
    denoising: DenoisingConfig = Field(default=DenoisingConfig(), description="Denoising without fine-tuning.")
    anomaly: AnomalyConfig = Field(default=AnomalyConfig(), description="Anomaly detection without fine-tuning.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="Metrics.")
    low_dose: LowDoseConfig = Field(default=LowDoseConfig(), description="Simulated low-dose scans.")
    red_cnn: RedCnnConfig = Field(default=RedCnnConfig(), description="RED-CNN, a baseline of denoising.")
    nnunet: NnUNetConfig = Field(default=NnUNetConfig(), description="nnU-Net, the fully supervised segmentation.")

    @model_validator(mode="after")
    def _check(self) -> "Config":
        names = [variant.name for variant in self.models]
        if len(set(names)) < len(names) or "real" in names:
            raise ValueError(f"models {names}: names must differ, and `real` is the name of the scans themselves")
        if self.diffusion.timesteps % self.distillation.steps:
            raise ValueError(
                f"distillation.steps {self.distillation.steps} does not divide diffusion.timesteps "
                f"{self.diffusion.timesteps}, so DDIM's steps would not be even; choose a divisor"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_models(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("ablation") == "full":
            return {"models": ABLATION, **tree}
        return tree

    def variant(self, name: str) -> VariantConfig:
        """Return the model to train that has this name."""
        for variant in self.models:
            if variant.name == name:
                return variant
        raise UserError(f"models: no {name!r}; the configuration has {', '.join(v.name for v in self.models)}")

    def network(self, name: str) -> NetworkConfig:
        """Return the network of the named model."""
        return NetworkConfig(**self.model.model_dump(), position=self.variant(name).position)


def load_config(path: Path) -> Config:
    """Read a YAML file.

    Raises:
        UserError: a line per mistake, with the key, the value and the mend.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give --config, for example config/config.yaml") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    return parse_config(tree or {}, str(path))


def parse_config(tree: Any, source: str) -> Config:
    """Return the validated configuration of a tree of plain values; `source` names it in errors."""
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected keys and values, found {type(tree).__name__}")
    return parse_section(Config, tree, source)


def parse_section(section: type[AnySection], tree: dict[str, Any], source: str) -> AnySection:
    """Return one validated section of a configuration; `source` names it in errors."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise UserError("\n".join(f"{source}: {_explain(e)}" for e in error.errors())) from None


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        close = get_close_matches(str(error["loc"][-1]), _known_keys(error["loc"][:-1]), n=1)
        mend = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(_known_keys(error['loc'][:-1]))}"
        return f"unknown key {key} (value {error['input']!r}); {mend}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key or 'configuration'}: {message}"
    return f"{key}: {error['input']!r} is not allowed; {message[0].lower()}{message[1:]}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that exist at a place in the tree."""
    model: Any = Config
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, Section))
    return list(model.model_fields)
