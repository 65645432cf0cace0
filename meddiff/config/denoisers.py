"""The methods of Table 4, and how those that are trained here to compare with are trained."""

from pydantic import Field

from meddiff.config.base import Section

# The rows of Table 4 that are run here; `ldct` is the noisy scan itself.
FILTERS = ("ldct", "median", "gaussian", "bilateral", "nlm", "bm3d", "wiener")
TRAINED_DENOISERS = ("red-cnn", "map-nn", "noise2sim")
DENOISING_NETWORKS = (
    *TRAINED_DENOISERS,
    "meddiff-fm-reverse",
    "meddiff-fm-diffpir",
    "meddiff-fm-one-step",
    "meddiff-fm-guided",
)
DENOISERS = (*FILTERS, *DENOISING_NETWORKS)


class RedCnnConfig(Section):
    """The supervised denoiser of Table 4 (Chen et al. 2017)."""

    width: int = Field(default=96, ge=1, description="Channels [Chen et al. 2017].")
    steps: int = Field(default=100_000, ge=1, description="Optimizer steps [Choice].")
    batch_size: int = Field(default=16, ge=1, description="Patches per step, out of all training scans [Choice].")
    patch_vox: int = Field(default=55, ge=21, description="Edge of the square patches [Chen et al. 2017].")
    learning_rate: float = Field(default=1e-4, gt=0, description="Adam's, at the first step [Chen et al. 2017].")
    final_learning_rate: float = Field(
        default=1e-5,
        gt=0,
        description="At the last step [Chen et al. 2017: slowly decreased; by the same factor at each step: Choice].",
    )


class MapNnConfig(Section):
    """The supervised denoiser of Table 4 that is trained against a critic (Shan et al. 2019)."""

    width: int = Field(default=32, ge=1, description="Channels [Shan et al. 2019].")
    depth: int = Field(default=5, ge=1, description="Passes through the one module [Shan et al. 2019].")
    critic_width: int = Field(default=64, ge=1, description="Channels of the critic's first layers [Shan et al. 2019].")
    critic_steps: int = Field(default=4, ge=1, description="The critic's steps for one of the network [their code].")
    steps: int = Field(default=80_000, ge=1, description="The network's steps [Shan et al. 2019: 80 epochs of 1,000].")
    batch_size: int = Field(default=128, ge=1, description="Patches per step [Shan et al. 2019].")
    patch_vox: int = Field(default=64, ge=9, description="Edge of the square patches [Shan et al. 2019].")
    learning_rate: float = Field(
        default=1e-4,
        gt=0,
        description="Adam's in the first of 80 equal parts of the steps; in the n-th divided by the root of n "
        "[Shan et al. 2019].",
    )
    error_weight: float = Field(default=50.0, ge=0, description="Weight of the squared error [Shan et al. 2019].")
    edge_weight: float = Field(default=50.0, ge=0, description="Weight of that of Sobel's edges [Shan et al. 2019].")


class Noise2SimConfig(Section):
    """The denoiser of Table 4 that learns from noisy scans alone (Niu et al. 2022)."""

    width: int = Field(default=96, ge=1, description="Channels of the first level [their code].")
    steps: int = Field(
        default=45_000, ge=1, description="Optimizer steps [their code: 300 epochs; of Mayo 2016's 4,750 slices]."
    )
    batch_size: int = Field(default=32, ge=1, description="Patches per step [their code].")
    patch_vox: int = Field(default=512, ge=16, description="Edge of the square patches [their code: whole slices].")
    learning_rate: float = Field(
        default=5e-4, gt=0, description="Adam's; rises in the first tenth, falls in the last three tenths [their code]."
    )
    neighbour_slices: int = Field(default=2, ge=1, description="How far a slice's partner may be [their code].")
    mean_vox: int = Field(default=7, ge=1, description="Edge of the square whose mean is compared [their code].")
    similar_hu: float = Field(
        default=30.0,
        gt=0,
        description="Where means differ by more, slices are not alike, and not used [their code].",
    )

    def check(self) -> None:
        if self.mean_vox % 2 == 0:
            raise ValueError(f"mean_vox {self.mean_vox} is even and has no middle; choose {self.mean_vox + 1}")


DenoiserRecipe = RedCnnConfig | MapNnConfig | Noise2SimConfig
