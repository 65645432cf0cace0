"""A network whose launches on a GPU are recorded once and then replayed.

A pass of the U-Net is some three hundred short kernels, and starting them one by one takes longer than they run. What
was recorded holds for one shape of the inputs. Batches of windows of one size share its memory, which is given back
when windows of another size come: every scan may have its own, and none may come again.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from meddiff.config import NetworkConfig
from meddiff.model.controlnet import ControlledUNet
from meddiff.model.unet import UNet

WARM_UP_PASSES = 2


class Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Graphed(nn.Module):
    """A network on a GPU with the interface of `UNet`, for inference."""

    def __init__(self, network: UNet | ControlledUNet) -> None:
        super().__init__()
        self.network = network
        self._recordings: dict[tuple[torch.Size, ...], Recording] = {}
        self._size_zyx, self._pool = torch.Size(), torch.cuda.graph_pool_handle()

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    def encode_condition(
        self, anatomy_BZYX: Tensor, coordinates_B3ZYX: Tensor, target_BCZYX: Tensor | None = None
    ) -> Tensor:
        return self.network.encode_condition(anatomy_BZYX, coordinates_B3ZYX, target_BCZYX)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the network's estimate; later calls, which may be those of another thread, leave it as it is."""
        shapes = tuple(each.shape for each in inputs)
        with torch.cuda.device(inputs[0].device):
            self._forget_other_sizes(inputs[0].shape[2:])
            if shapes not in self._recordings:
                self._recordings[shapes] = self._record(inputs)
            recording = self._recordings[shapes]
            for kept, given in zip(recording.inputs, inputs, strict=True):
                kept.copy_(given)
            recording.graph.replay()
            return recording.output.clone()

    def _forget_other_sizes(self, size_zyx: torch.Size) -> None:
        if size_zyx != self._size_zyx:
            self._recordings.clear()
            self._pool = torch.cuda.graph_pool_handle()  # torch refuses to record into one whose graphs are gone
            self._size_zyx = size_zyx

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        kept = tuple(each.clone(memory_format=torch.preserve_format) for each in inputs)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is done but once, such as compiling kernels, must not be recorded
            for _ in range(WARM_UP_PASSES):
                self.network(*kept)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = self.network(*kept)
        return Recording(graph, kept, output)
