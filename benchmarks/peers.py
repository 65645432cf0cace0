"""The peers of the benchmarks, made to compute what ours computes."""

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from meddiff.config import MODEL_REGIONS
from meddiff.model.unet import UNet
from meddiff.store.position import position_embedding


def monai_twin(network: UNet) -> DiffusionModelUNet:
    """Return MONAI's U-Net with our weights; image and embedded conditions are the channels of its input.

    Two parts of MONAI's transformer have no counterpart in ours and are set to do nothing: its first projection is the
    identity, and the value half of its gated feed-forward layer is one. MONAI's eps of the group norm is set to ours.
    """
    config = network.config
    widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
    twin = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=1 + network.conv_condition.in_channels,
        out_channels=1,
        num_res_blocks=config.blocks_per_level,
        channels=widths,
        attention_levels=[depth in config.attention_levels for depth in range(len(widths))],
        norm_num_groups=config.norm_groups,
        norm_eps=network.norm_out.eps,
        num_head_channels=[width // config.attention_heads for width in widths],
        with_conditioning=True,
        cross_attention_dim=4 * config.channels,
        num_class_embeds=len(MODEL_REGIONS),
    )
    weights: dict[str, Tensor] = {
        "conv_in.conv.weight": torch.cat((network.conv_image.weight, network.conv_condition.weight), dim=1),
        "conv_in.conv.bias": network.conv_image.bias,
        "class_embedding.weight": network.region.weight,
    }
    _copy(weights, "time_embed", network.time)
    _copy(weights, "out.0", network.norm_out)
    _copy(weights, "out.2.conv", network.conv_out)
    for side, names in (("down", "down_blocks"), ("up", "up_blocks")):
        for number, level in enumerate(getattr(network, side)):
            for i, (block, transformer) in enumerate(zip(level.blocks, level.transformers, strict=True)):
                _copy_block(weights, f"{names}.{number}.resnets.{i}", block)
                _copy_transformer(weights, f"{names}.{number}.attentions.{i}", transformer)
    for number, layer in enumerate(network.downsample):
        _copy(weights, f"down_blocks.{number}.downsampler.op.conv", layer)
    for number, layer in enumerate(network.upsample):
        _copy(weights, f"up_blocks.{number}.upsampler.postconv.conv", layer.conv)
    _copy_block(weights, "middle_block.resnet_1", network.middle1)
    _copy_transformer(weights, "middle_block.attention", network.middle_transformer)
    _copy_block(weights, "middle_block.resnet_2", network.middle2)
    twin.load_state_dict({name: tensor.detach() for name, tensor in weights.items()})
    return twin.to(network.norm_out.weight)


def twin_input(network: UNet, x_BCZYX: Tensor, anatomy_BZYX: Tensor, coordinates_B3ZYX: Tensor) -> Tensor:
    """Return the twin's input: the image and the conditions that our first convolution sees."""
    anatomy = network.anatomy(anatomy_BZYX.int()).movedim(-1, 1)
    position = position_embedding(coordinates_B3ZYX, network.config.position_frequencies)
    return torch.cat([x_BCZYX, anatomy, position.to(anatomy)], dim=1)


def _copy(weights: dict[str, Tensor], name: str, module: nn.Module) -> None:
    weights |= {f"{name}.{key}": parameter for key, parameter in module.named_parameters()}


def _copy_block(weights: dict[str, Tensor], name: str, block: nn.Module) -> None:
    for ours, theirs in {
        "norm1": "norm1",
        "conv1": "conv1.conv",
        "time": "time_emb_proj",
        "norm2": "norm2",
        "conv2": "conv2.conv",
        "skip": "skip_connection.conv",
    }.items():
        _copy(weights, f"{name}.{theirs}", getattr(block, ours))


def _copy_transformer(weights: dict[str, Tensor], name: str, transformer: nn.Module) -> None:
    if isinstance(transformer, nn.Identity):
        return
    channels = transformer.norm.num_channels
    block = f"{name}.transformer_blocks.0"
    _copy(weights, f"{name}.norm", transformer.norm)
    weights[f"{name}.proj_in.conv.weight"] = torch.eye(channels)[:, :, None, None, None]
    weights[f"{name}.proj_in.conv.bias"] = torch.zeros(channels)
    for number, (norm, attention) in enumerate(
        ((transformer.norm_self, transformer.attend_self), (transformer.norm_cross, transformer.attend_cross)), start=1
    ):
        _copy(weights, f"{block}.norm{number}", norm)
        key, value = attention.key_value.weight.chunk(2)
        weights |= {
            f"{block}.attn{number}.to_q.weight": attention.query.weight,
            f"{block}.attn{number}.to_k.weight": key,
            f"{block}.attn{number}.to_v.weight": value,
        }
        _copy(weights, f"{block}.attn{number}.out_proj", attention.out)
    _copy(weights, f"{block}.norm3", transformer.norm_feed)
    first, _, second = transformer.feed
    weights[f"{block}.ff.linear1.weight"] = torch.cat((torch.zeros_like(first.weight), first.weight))
    weights[f"{block}.ff.linear1.bias"] = torch.cat((torch.ones_like(first.bias), first.bias))
    _copy(weights, f"{block}.ff.linear2", second)
    weights[f"{name}.proj_out.conv.weight"] = transformer.out.weight[:, :, None, None, None]
    weights[f"{name}.proj_out.conv.bias"] = transformer.out.bias
