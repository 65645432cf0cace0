"""The memory of a training step, counted on tensors without data, before there is a GPU to try it on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from meddiff.config import NetworkConfig
from meddiff.model.blocks import ResidualBlock, SpatialTransformer, parameter_count
from meddiff.model.unet import UNet

# float32: the weights, their gradients, Adam's two averages and the moving average of the weights.
STATE_BYTES = 5 * 4


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step in bfloat16.

    Args:
        states: weights, gradients, optimizer and moving average.
        saved: what the forward pass keeps for the backward pass.
        working: what is there besides while one layer is computed; with activation checkpointing, all that is
            computed anew for one block.
    """

    states: int
    saved: int
    working: int

    @property
    def total(self) -> int:
        return self.states + self.saved + self.working


def step_memory(config: NetworkConfig, batch_size: int, activation_checkpointing: bool) -> StepMemory:
    """Return the memory of one forward and backward pass of `batch_size` patches.

    The workspace of libraries and what an allocator cannot use come on top of it; how much, only a GPU can tell.
    """
    with FakeTensorMode():
        network = UNet(config)
        network.activation_checkpointing = activation_checkpointing
        states = STATE_BYTES * parameter_count(network)
        blocks: list[int] = []
        saved = _saved_bytes(network, batch_size, blocks)
        again = 0
        if activation_checkpointing:
            network.activation_checkpointing = False
            _saved_bytes(network, batch_size, blocks)
            again = max(blocks)
    joined = 2 * batch_size * config.patch_vox**3 * 2 * config.widths[0]  # the largest volume, in bfloat16
    return StepMemory(states, saved, 2 * joined + again)


def _saved_bytes(network: UNet, batch_size: int, blocks: list[int]) -> int:
    """Return the bytes that a forward pass keeps, and append those of each block to `blocks`."""
    storages = {parameter.untyped_storage()._cdata: 0 for parameter in network.parameters()}
    kept = []  # so that no storage takes another's place

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.append(storage)
        storages.setdefault(storage._cdata, storage.nbytes())
        return tensor

    def counted(module: nn.Module) -> None:
        began: list[int] = []
        handles.append(module.register_forward_pre_hook(lambda *_: began.append(sum(storages.values()))))
        handles.append(module.register_forward_hook(lambda *_: blocks.append(sum(storages.values()) - began[-1])))

    handles: list = []
    for module in network.modules():
        if isinstance(module, ResidualBlock | SpatialTransformer):
            counted(module)
    size = (network.config.patch_vox,) * 3
    image, number = torch.empty(batch_size, 1, *size), torch.zeros(batch_size, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        anatomy = torch.zeros(batch_size, *size, dtype=torch.uint8)
        condition = network.encode_condition(anatomy, torch.empty(batch_size, 3, *size))
        network(image, number, number, condition).float().abs().mean()
    for handle in handles:
        handle.remove()
    return sum(storages.values())
