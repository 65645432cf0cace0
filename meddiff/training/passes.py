"""One pass of a training: the loss of a batch, whose gradients are added to those of the step's earlier passes.

A pass is some thousand short kernels, and on a GPU starting them one by one takes longer than they run. There they are
recorded once, forward and backward, and then replayed.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from meddiff.config import TrainingConfig
from meddiff.machine.device import autocast
from meddiff.store.patches import Sample
from meddiff.training.objective import Noising, Objective
from meddiff.training.run import Run

log = logging.getLogger(__name__)

WARM_UP_PASSES = 3

Pass = Callable[[Sample, Noising], Tensor]  # adds gradients to the parameters', and returns the loss


def make_pass(objective: Objective, config: TrainingConfig, run: Run) -> Pass:
    """Return the pass of a run, recorded where its device can do that and the configuration wants it."""
    launched = LaunchedPass(objective, config)
    return RecordedPass(launched) if run.device.type == "cuda" and run.machine.cuda_graphs else launched


class LaunchedPass:
    """A pass whose operators are called one by one."""

    def __init__(self, objective: Objective, config: TrainingConfig) -> None:
        self.parameters = list(objective.network.parameters())
        self._objective, self._config = objective, config

    def __call__(self, batch: Sample, noising: Noising) -> Tensor:
        """Add the gradients of the batch's mean loss, as a part of the step's, and return that loss."""
        with autocast(batch.image.device, self._config.bfloat16):
            loss = self._objective(batch, noising).mean()
        (loss / self._config.accumulation).backward()
        return loss.detach()


class Recording(NamedTuple):
    """A recorded pass, and the memory that it reads and writes at every replay."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]


class RecordedPass:
    """A pass on a GPU that is recorded at its first call and then replayed; what cannot be recorded is launched.

    All batches have the shapes of the first one.
    """

    def __init__(self, launched: LaunchedPass) -> None:
        self._launched = launched
        self._recording: Recording | None = None
        self._can_record = True

    def __call__(self, batch: Sample, noising: Noising) -> Tensor:
        """Do what the launched pass does."""
        with torch.cuda.device(batch.image.device):
            if self._recording is None and self._can_record:
                self._recording = self._try_to_record(batch, noising)
            if self._recording is None:
                return self._launched(batch, noising)
            return _replay(self._recording, batch, noising)

    def _try_to_record(self, batch: Sample, noising: Noising) -> Recording | None:
        before = [parameter.grad for parameter in self._launched.parameters]
        try:
            return self._record(batch, noising)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.info("training launches its kernels one by one, since they cannot be recorded: %s", error)
            self._can_record = False
            return None
        finally:
            for parameter, gradient in zip(self._launched.parameters, before, strict=True):
                parameter.grad = gradient

    def _record(self, batch: Sample, noising: Noising) -> Recording:
        parameters = self._launched.parameters
        batch, noising = _copies(batch), Noising(*(each.clone() for each in noising))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is done but once, such as compiling kernels, must not be recorded
            for _ in range(WARM_UP_PASSES):
                _forget_gradients(parameters)
                self._launched(batch, noising)
        torch.cuda.current_stream().wait_stream(stream)
        _forget_gradients(parameters)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a thread of the loader pins its memory
            loss = self._launched(batch, noising)
        gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        return Recording(graph, _inputs(batch, noising), loss, gradients)


def _replay(recording: Recording, batch: Sample, noising: Noising) -> Tensor:
    for kept, given in zip(recording.inputs, _inputs(batch, noising), strict=True):
        kept.copy_(given)
    recording.graph.replay()
    for parameter, gradient in recording.gradients:
        if parameter.grad is None:
            parameter.grad = gradient.clone()
        else:
            parameter.grad += gradient
    return recording.loss.clone()


def _copies(batch: Sample) -> Sample:
    names = (field.name for field in dataclasses.fields(batch))
    tensors = {name: value for name in names if isinstance(value := getattr(batch, name), Tensor)}
    return dataclasses.replace(batch, **{name: tensor.clone() for name, tensor in tensors.items()})


def _inputs(batch: Sample, noising: Noising) -> list[Tensor]:
    values = (getattr(batch, field.name) for field in dataclasses.fields(batch))
    return [value for value in values if isinstance(value, Tensor)] + list(noising)


def _forget_gradients(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
