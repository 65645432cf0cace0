"""The whole configuration, and reading it with errors that a person can mend."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from meddiff.config.base import LARGEST_SEED, AnySection, Section
from meddiff.config.data import AnatomyConfig, DataConfig, LowDoseConfig, RegionsConfig, WindowsConfig
from meddiff.config.denoisers import MapNnConfig, Noise2SimConfig, RedCnnConfig
from meddiff.config.finetune import FinetuningConfig, LesionsConfig, SuperResolutionConfig
from meddiff.config.machine import MachineConfig, moved_to
from meddiff.config.model import (
    ABLATION,
    DDPM,
    MEDDIFF_FM,
    AugmentationConfig,
    DiffusionConfig,
    DistillationConfig,
    ModelConfig,
    NetworkConfig,
    TrainingConfig,
    VariantConfig,
)
from meddiff.config.one_of_each_key import OneOfEachKey
from meddiff.config.tasks import (
    AnomalyConfig,
    DenoisingConfig,
    EvaluationConfig,
    NnUNetConfig,
    SamplingConfig,
)
from meddiff.errors import UserError


class Config(Section):
    output_dir: Path = Field(default=Path("results"), description="Where everything is written.")
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Seed of the split, training and sampling.")
    machine: MachineConfig = Field(default=MachineConfig(), description="How and where jobs run.")
    data: DataConfig = Field(default=DataConfig(), description="Datasets and resampling.")
    anatomy: AnatomyConfig = Field(default=AnatomyConfig(), description="Anatomical structures c_a.")
    regions: RegionsConfig = Field(default=RegionsConfig(), description="Splitting whole-body scans.")
    windows: WindowsConfig = Field(default=WindowsConfig(), description="HU window of each region.")
    model: ModelConfig = Field(default=ModelConfig(), description="The denoising U-Net.")
    diffusion: DiffusionConfig = Field(default=DiffusionConfig(), description="The diffusion process.")
    augmentation: AugmentationConfig = Field(
        default=AugmentationConfig(), description="Variation of the training samples."
    )
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
    finetuning: FinetuningConfig = Field(default=FinetuningConfig(), description="Fine-tuning with ControlNet.")
    lesions: LesionsConfig = Field(default=LesionsConfig(), description="Generated and inpainted lesions.")
    super_resolution: SuperResolutionConfig = Field(
        default=SuperResolutionConfig(), description="Thin slices out of thick ones."
    )
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="Metrics.")
    low_dose: LowDoseConfig = Field(default=LowDoseConfig(), description="Simulated low-dose scans.")
    red_cnn: RedCnnConfig = Field(default=RedCnnConfig(), description="RED-CNN, a baseline of denoising.")
    map_nn: MapNnConfig = Field(default=MapNnConfig(), description="MAP-NN, a baseline of denoising.")
    noise2sim: Noise2SimConfig = Field(default=Noise2SimConfig(), description="Noise2Sim, a baseline of denoising.")
    nnunet: NnUNetConfig = Field(default=NnUNetConfig(), description="nnU-Net, the fully supervised segmentation.")

    def check(self) -> None:
        names = [variant.name for variant in self.models]
        if len(set(names)) < len(names) or "real" in names:
            raise ValueError(f"models {names}: names must differ, and `real` is the name of the scans themselves")
        if self.diffusion.timesteps % self.distillation.steps:
            raise ValueError(
                f"distillation.steps {self.distillation.steps} does not divide diffusion.timesteps "
                f"{self.diffusion.timesteps}, so DDIM's steps would not be even; choose a divisor"
            )

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

    def with_model(self, name: str) -> "Config":
        """Return the configuration with one of the models alone."""
        return self.model_copy(update={"models": (self.variant(name),)})

    def network(self, name: str) -> NetworkConfig:
        """Return the network of the named model."""
        sizes = {key: getattr(self.model, key) for key in ModelConfig.model_fields}  # a dump would leave out, not raise
        return NetworkConfig(**sizes, position=self.variant(name).position)


def load_config(path: Path) -> Config:
    """Read a YAML file.

    Raises:
        UserError: a line per mistake, with the key, the value and the mend.
    """
    return parse_config(read_tree(path), str(path))


def read_tree(path: Path) -> Any:
    """Return the plain values of a YAML file, as they are; it is UTF-8, or UTF-16 with a byte order mark.

    Raises:
        UserError: there is no such file, or it is not YAML.
    """
    try:
        return OneOfEachKey(path.read_bytes()).get_single_data() or {}
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; give --config, for example config/config.yaml") from None
    except (yaml.reader.ReaderError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not UTF-8 ({' '.join(str(error).split())}); save it with that encoding") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None


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
    if error["type"] == "extra_forbidden" and (place := moved_to(key)):
        return f"{key} (value {error['input']!r}) is {place} now"
    if error["type"] == "extra_forbidden":
        close = get_close_matches(str(error["loc"][-1]), _known_keys(error["loc"][:-1]), n=1)
        mend = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(_known_keys(error['loc'][:-1]))}"
        return f"unknown key {key} (value {error['input']!r}); {mend}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
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
