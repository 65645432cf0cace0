"""The configuration: one tree, whose defaults are the numbers of the paper.

Each field names its source in brackets: a section or equation of the paper, or `Choice` where the paper is
silent. `config/README.md` and `config/paper.yaml` are generated from this package (`meddiff config --write`).
"""

from meddiff.config.base import LARGEST_SEED, MODEL_REGIONS, REGION_OF, Organ, Region, Section
from meddiff.config.data import (
    PATIENT_ID,
    AnatomyConfig,
    DataConfig,
    DatasetConfig,
    LowDoseConfig,
    RegionsConfig,
    Window,
    WindowsConfig,
)
from meddiff.config.denoisers import (
    DENOISERS,
    DENOISING_NETWORKS,
    FILTERS,
    TRAINED_DENOISERS,
    DenoiserRecipe,
    MapNnConfig,
    Noise2SimConfig,
    RedCnnConfig,
)
from meddiff.config.finetune import (
    GENERATED,
    INPAINTED,
    ORIGINS,
    REAL,
    SUPER_RESOLVERS,
    FinetuningConfig,
    LesionsConfig,
    SuperResolutionConfig,
)
from meddiff.config.machine import MachineConfig
from meddiff.config.model import (
    PATCH_ALONE,
    AugmentationConfig,
    DiffusionConfig,
    DistillationConfig,
    LevelWeights,
    ModelConfig,
    NetworkConfig,
    TrainingConfig,
)
from meddiff.config.tasks import (
    SUPERVISED,
    AnomalyConfig,
    CoarseToFineConfig,
    DenoisingConfig,
    EvaluationConfig,
    NnUNetConfig,
    SamplingConfig,
)
from meddiff.config.tree import Config, load_config, parse_config, parse_section, read_tree

__all__ = [
    "DENOISERS",
    "DENOISING_NETWORKS",
    "FILTERS",
    "GENERATED",
    "INPAINTED",
    "LARGEST_SEED",
    "MODEL_REGIONS",
    "ORIGINS",
    "PATCH_ALONE",
    "PATIENT_ID",
    "REAL",
    "REGION_OF",
    "SUPERVISED",
    "SUPER_RESOLVERS",
    "TRAINED_DENOISERS",
    "AnatomyConfig",
    "AnomalyConfig",
    "AugmentationConfig",
    "CoarseToFineConfig",
    "Config",
    "DataConfig",
    "DatasetConfig",
    "DenoiserRecipe",
    "DenoisingConfig",
    "DiffusionConfig",
    "DistillationConfig",
    "EvaluationConfig",
    "FinetuningConfig",
    "LesionsConfig",
    "LevelWeights",
    "LowDoseConfig",
    "MachineConfig",
    "MapNnConfig",
    "ModelConfig",
    "NetworkConfig",
    "NnUNetConfig",
    "Noise2SimConfig",
    "Organ",
    "RedCnnConfig",
    "Region",
    "RegionsConfig",
    "SamplingConfig",
    "Section",
    "SuperResolutionConfig",
    "TrainingConfig",
    "Window",
    "WindowsConfig",
    "load_config",
    "parse_config",
    "parse_section",
    "read_tree",
]
