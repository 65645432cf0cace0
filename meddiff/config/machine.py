"""How and where jobs run."""

from typing import Literal

from pydantic import Field

from meddiff.config.base import Section


class MachineConfig(Section):
    """How and where jobs run, and how closely they are watched: no value here changes a result or runs a job again."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="`auto` is the GPU where there is one; `mps` is Apple's, which auto does not take."
    )
    threads: int = Field(default=16, ge=1, description="Most threads of a job; 4 of one that goes through scans.")
    data_shards: int = Field(default=84, ge=1, description="Jobs per preparation stage; about 64 cases each.")
    sampling_shards: int = Field(default=28, ge=1, description="Jobs per model that draw synthetic scans.")
    processes: int = Field(
        default=1, ge=1, description="Processes of torchrun, one per GPU, that share every step of a training."
    )
    nodes: int = Field(default=1, ge=1, description="Nodes of a cluster that these processes are spread over.")
    workers: int = Field(default=4, ge=0, description="Processes that read patches for a training.")
    activation_checkpointing: bool = Field(default=False, description="Less memory for a training, a third more time.")
    checkpoint_minutes: float = Field(default=30.0, gt=0, description="Time between checkpoints of a training.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept.")
    status_seconds: float = Field(default=60.0, gt=0, description="Time between status lines of a training.")
    validate_every: int = Field(default=1000, ge=1, description="Steps between validations.")
    validation_patches: int = Field(default=8, ge=1, description="Patches of each region and level in a validation.")
    sample_every: int = Field(default=10_000, ge=1, description="Steps between sample images.")
    gpus: int = Field(default=1, ge=1, description="GPUs that share the windows of a volume.")
    windows_per_batch: int = Field(default=4, ge=1, description="Windows per forward pass.")
    memory_gb: float = Field(
        default=8, gt=0, description="For a volume's arrays and, with what is left, its encoded conditions."
    )
    gpu_memory_gb: float = Field(
        default=10, ge=0, description="The same on a GPU, beside the model; a larger volume lives on the host."
    )
    cache_conditions: bool = Field(
        default=True, description="Encode the conditions of windows that stay once, as far as the memory goes."
    )
    cuda_graphs: bool = Field(
        default=True,
        description="On a GPU, record the launches of a pass once and replay them, in sampling and training.",
    )
    compile: bool = Field(default=False, description="Use torch.compile; needs a C++ compiler.")
    save_every_steps: int = Field(default=10, ge=1, description="Steps between saved states of a volume.")

    def check(self) -> None:
        if self.processes % self.nodes:
            raise ValueError(f"processes {self.processes} cannot be spread over nodes {self.nodes}; choose a multiple")


# Where keys are now that were elsewhere before there was this section; the others kept their name.
MOVED = {"data.shards": "machine.data_shards", "sampling.shards": "machine.sampling_shards"}


def moved_to(key: str) -> str | None:
    """Return the place of a key of this section that is given in another one."""
    name = key.rpartition(".")[2]
    return MOVED.get(key) or (f"machine.{name}" if name in MachineConfig.model_fields else None)
