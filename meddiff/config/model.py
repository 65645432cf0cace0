"""The network, the diffusion process and their training."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from meddiff.config.base import Fraction, Section

# The word `none` stands for nothing to start from.
StartFrom = Annotated[str | None, AfterValidator(lambda word: None if word == "none" else word)]
PositionMode = Literal["none", "coordinates", "embedding"]


class ModelConfig(Section):
    patch_vox: int = Field(default=128, ge=8, description="Edge of the cubic patch [4.1].")
    channels: int = Field(default=32, ge=8, description="Model channels [4.1].")
    channel_multipliers: tuple[int, ...] = Field(
        default=(1, 2, 4, 8),
        min_length=1,
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

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    def check(self) -> None:
        if self.patch_vox % self.divisor:
            raise ValueError(
                f"patch_vox {self.patch_vox} is not a multiple of {self.divisor}, the downsampling of "
                f"{len(self.channel_multipliers)} levels; choose {self.patch_vox // self.divisor * self.divisor}"
            )
        if self.channels % 2:  # half of the time's features are sines, half cosines
            raise ValueError(f"channels {self.channels} is odd; choose {self.channels + 1}")
        if self.channels % self.norm_groups:
            raise ValueError(f"channels {self.channels} is not a multiple of norm_groups {self.norm_groups}")
        if bad := [level for level in self.attention_levels if not 0 <= level < len(self.channel_multipliers)]:
            raise ValueError(
                f"attention_levels {bad} do not exist; there are levels 0 to {len(self.channel_multipliers) - 1}"
            )
        self._check_heads()

    def _check_heads(self) -> None:
        attentive = {*(self.widths[level] for level in self.attention_levels), self.widths[-1]}  # the middle's, too
        if bad := sorted(width for width in attentive if width % self.attention_heads):
            raise ValueError(
                f"attention_heads {self.attention_heads} do not divide {', '.join(map(str, bad))} channels, those of a "
                f"level with attention or of the middle; choose {math.gcd(self.attention_heads, *attentive)}"
            )


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

    def check(self) -> None:
        if self.image + self.double + self.patch <= 0:
            raise ValueError("levels image, double and patch are all 0; give one a weight")


class AugmentationConfig(Section):
    """Random variation of the training samples of pretraining, distillation and lesions; a `share` of 0 is off."""

    share: Fraction = Field(default=0.0, description="Share of the samples that are varied [the paper names none].")
    size: float = Field(default=0.1, ge=0, lt=0.5, description="Largest change of the body's size, per axis [Choice].")
    roll_degrees: float = Field(default=8.0, ge=0, le=45, description="Largest roll about the long axis [Choice].")
    displacement_mm: float = Field(
        default=3.0, ge=0, le=6, description="Standard deviation of smooth displacements, 48 mm apart [Choice]."
    )
    contrast: float = Field(
        default=0.2, ge=0, le=1, description="Standard deviation of the logarithm of an organ's enhancement [Choice]."
    )
    mirrored_heads: Fraction = Field(
        default=0.5, description="Share of the varied heads that change sides, with their labels [Choice]."
    )


class TrainingConfig(Section):
    """How long and how a model is trained; its length is given as `epochs` or as `steps`."""

    epochs: int | None = Field(
        default=150, ge=1, description="Passes over the regions of the training split [4.1: around 150, of the scans]."
    )
    steps: int | None = Field(default=None, ge=1, description="Optimizer steps, in place of `epochs`.")
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
    bfloat16: bool = Field(
        default=True, description="Autocast to bfloat16 where the device is made for it; weights stay float32 [Choice]."
    )
    start_from: StartFrom = Field(
        default=None,
        description="Bundle whose weights pretraining begins with, a folder or an id on Hugging Face; `{model}` stands "
        "for the model's name; `shipped`: the package's own model of this name; `none`: from nothing [Choice].",
    )

    @property
    def samples_per_step(self) -> int:
        return self.batch_size * self.accumulation

    def steps_for(self, regions: int) -> int:
        """Return the optimizer steps of a training on so many regions; the last one may begin an epoch more."""
        if self.epochs is None:
            return self.steps or 0
        return math.ceil(self.epochs * regions / self.samples_per_step)

    @model_validator(mode="before")
    @classmethod
    def _steps_in_place_of_epochs(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("steps") is not None:
            return {"epochs": None, **tree}
        return tree

    def check(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"epochs {self.epochs} and steps {self.steps}: give one of them and leave the other out")


class DistillationConfig(Section):
    """Distillation of a trained model to few steps; what is not here is as in `training`."""

    method: Literal["progressive", "consistency"] = Field(
        default="progressive",
        description="Steps halved again and again (Salimans and Ho 2022), or to the last number at once, by a student "
        "that comes from everywhere to the same end (Heek et al. 2024) [Choice].",
    )
    steps: int = Field(default=8, ge=1, description="Sampling steps of the few-step model [Choice].")
    first_steps: int = Field(
        default=64, ge=2, description="Sampling steps of the trained model that is distilled [Choice]."
    )
    training_steps: int = Field(
        default=10_000, ge=1, description="Optimizer steps of each halving, or of all [Choice]."
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Adam; decays to 0 over each of these [Choice].")

    def check(self) -> None:
        ratio, rest = divmod(self.first_steps, self.steps)
        if rest or ratio < 2 or ratio & (ratio - 1):
            raise ValueError(
                f"first_steps {self.first_steps} halved again and again does not lead to steps {self.steps}; "
                f"choose {2 * self.steps}, {4 * self.steps} or {8 * self.steps}"
            )


PATCH_ALONE = LevelWeights(image=0, double=0, patch=1)


class VariantConfig(Section):
    """One model of the comparison: what it is told about position, and on which inputs it is trained."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="Name in the tables and folders.")
    position: PositionMode = Field(default="embedding", description="Nothing, p_c of Eq. 3, or p_e of Eq. 5 [3.3].")
    levels: LevelWeights = Field(default=LevelWeights(), description="Multi-level input [3.2].")


MEDDIFF_FM = VariantConfig(name="meddiff-fm")
DDPM = VariantConfig(name="ddpm", position="none", levels=PATCH_ALONE)
# The rows of v3's ablation, each with one thing more than the next: the embedding, coordinates, several levels.
ABLATION = (
    MEDDIFF_FM,
    VariantConfig(name="coordinates", position="coordinates"),
    VariantConfig(name="multi-level", position="none"),
    DDPM,
)
