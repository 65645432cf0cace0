"""Fine-tuning with ControlNet and the tasks that need it: lesions and super-resolution."""

from pydantic import Field

from meddiff.config.base import Section
from meddiff.config.model import PATCH_ALONE, LevelWeights, StartFrom

ORIGINS = ("scratch", "fine-tune")  # of a lesion model: without the pretrained weights, or with them
REAL, GENERATED, INPAINTED = "real", "generated", "inpainted"  # lesions that are judged
# The rows of the table of super-resolution: interpolation, the ControlNet alone, and with DiffPIR.
SUPER_RESOLVERS = ("linear", "b-spline", "controlnet", "diffpir")


class FinetuningConfig(Section):
    """Training of a ControlNet, for lesions or super-resolution; what is not here is as in `training`."""

    steps: int = Field(default=10_000, ge=1, description="Optimizer steps [4.1: around 10k].")
    learning_rate: float = Field(default=1e-4, gt=0, description="Adam [4.1].")
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up [Choice].")
    ema_decay: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="Moving average of the weights [Choice: pretraining's would still hold a third of the first ones].",
    )
    start_from: StartFrom = Field(
        default=None,
        description="Bundle whose weights a ControlNet begins with, a folder; `{model}` stands for `lesions` or "
        "`super-resolution`; `shipped`: the package's own; `none`: as a copy of the foundation model [3.2]. Not for "
        "lesion models from scratch.",
    )
    levels: LevelWeights = Field(
        default=PATCH_ALONE,
        description="Levels of the lesion samples [3.5: lesion patches, the level at which they are drawn and judged].",
    )


class LesionsConfig(Section):
    """Generated and inpainted lesions (Table 6); inpainting is RePaint's (Lugmayr et al. 2022)."""

    patches_per_case: int = Field(default=3, ge=1, description="Lesions of a test case, the largest first [Choice].")
    min_ml: float = Field(default=0.03, ge=0, description="Smaller lesions are not judged: a ball of 4 mm [Choice].")
    inpainting_steps: int = Field(default=50, ge=1, description="Ancestral steps of an inpainting [Choice].")
    jump_length: int = Field(default=5, ge=1, description="Steps of a jump back [RePaint's j; there 10 of 250].")
    resampling: int = Field(default=3, ge=1, description="How often each part of the way is walked [RePaint's r: 10].")
    margin_mm: float = Field(
        default=5.0, ge=0, description="Around the mask, where the inpainted lesion and the scan are blended [Choice]."
    )
    augmentation_copies: int = Field(
        default=2, ge=1, description="Generated lesions for each training case in the augmentation study [Choice]."
    )
    augmentation_diameter_mm: tuple[float, float] = Field(
        default=(10.0, 40.0), description="Smallest and largest size of their drawn masks [Choice]."
    )

    def check(self) -> None:
        if self.jump_length > self.inpainting_steps:
            raise ValueError(
                f"jump_length {self.jump_length} is more than inpainting_steps {self.inpainting_steps}; make it smaller"
            )
        low, high = self.augmentation_diameter_mm
        if not 0 < low <= high:
            raise ValueError(f"augmentation_diameter_mm ({low:g}, {high:g}) is no range; give the smaller one first")


class SuperResolutionConfig(Section):
    """Thin slices out of thick ones, with DiffPIR (v3)."""

    factor: int = Field(default=5, ge=2, description="Thin slices in a thick one [v3: 5 mm to 1 mm].")
    sigma_n: float = Field(
        default=0.05, gt=0, description="Noise of the thick slices, half HU windows [Choice: v3's 1 lets go of them]."
    )
    diffpir_lambda: float = Field(default=1.0, gt=0, description="Weight of the prior [v3].")
    diffpir_zeta: float = Field(
        default=0.1, ge=0, le=1, description="Share of fresh noise [DiffPIR's published value]."
    )
    steps: int = Field(
        default=4, ge=1, description="Steps, evenly from T [Choice: v3's are 100, of which each adds detail and error]."
    )
    keep_slice_means: bool = Field(
        default=True,
        description="The thin slices average to the thick ones exactly, which v3's do not [Choice: docs/methods.md].",
    )
    scans: int = Field(default=20, ge=1, description="Test regions, where no dataset has thick slices [Choice].")
