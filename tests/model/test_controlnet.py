"""ControlNet: before training it changes nothing, and training reaches all of it and nothing else."""

import copy

import pytest
import torch

from meddiff.config import NetworkConfig
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.unet import Encoder, UNet
from tests.model.grids import random_coordinates

PLAIN = NetworkConfig(patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)
ATTENTIVE = PLAIN.model_copy(update={"attention_levels": (1,), "position_frequencies": 2})
ZERO = ("zero_middle", "zero_skips.0", "zero_skips.1", "zero_skips.2", "zero_skips.3")


def inputs(batch=2):
    """Return x, t and region, and then anatomy, coordinates and target."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 1, 8, 8, 8, generator=generator)
    anatomy = torch.randint(0, 119, (batch, 8, 8, 8), generator=generator, dtype=torch.uint8)
    coordinates = random_coordinates(batch, (8, 8, 8), generator)
    target = (torch.rand(batch, 1, 8, 8, 8, generator=generator) > 0.5).float()
    return (x, torch.tensor([10, 900]), torch.tensor([0, 2])), (anatomy, coordinates, target)


def randomised(network, std=0.1):
    """The output and every block of a new network are zero, and then nothing can be told from its estimate."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return network


def controlled(config=PLAIN):
    unet = randomised(UNet(config))
    return ControlledUNet(unet, ControlNet.from_unet(unet)).eval()


def estimate(network, condition):
    return network(*inputs()[0], network.encode_condition(*condition))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [PLAIN, ATTENTIVE], ids=["plain", "attentive"])
def test_before_training_the_controlled_network_is_the_unet_to_the_bit(config, dtype):
    network, condition = controlled(config).to(dtype), inputs()[1]
    with torch.no_grad():
        expected, found = estimate(network.unet, condition[:2]), estimate(network, condition)
    assert expected.std() > 0.01
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_all_that_is_added_goes_through_the_zero_convolutions():
    network, condition = controlled(ATTENTIVE), inputs()[1]
    randomised(network.control, std=0.3)
    for name in ZERO:
        for parameter in network.control.get_submodule(name).parameters():
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        assert torch.equal(estimate(network, condition), estimate(network.unet, condition[:2]))


@pytest.mark.parametrize("name", ZERO)
def test_every_zero_convolution_reaches_the_estimate(name):
    network, condition = controlled(), inputs()[1]
    randomised(network.control.get_submodule(name))
    with torch.no_grad():
        change = estimate(network, condition) - estimate(network.unet, condition[:2])
    assert change.std() > 1e-4


def test_no_other_convolution_starts_at_zero():
    control = ControlNet.from_unet(randomised(UNet(PLAIN)))
    zero = {name.rsplit(".", 1)[0] for name, parameter in control.named_parameters() if not parameter.any()}
    assert zero == {*ZERO, "target.4"}


@pytest.mark.parametrize("which", ["x", "t", "region", "anatomy", "coordinates", "target"])
def test_what_is_added_depends_on_every_input(which):
    control = randomised(ControlNet(ATTENTIVE)).eval()
    (x, t, region), (anatomy, coordinates, target) = inputs()
    given = {"x": x, "t": t, "region": region, "anatomy": anatomy, "coordinates": coordinates, "target": target}
    other = {"x": -x, "t": t + 50, "region": (region + 1) % 3, "anatomy": 118 - anatomy}
    other |= {"coordinates": coordinates / 2, "target": 1 - target}

    def middle(x, t, region, anatomy, coordinates, target):
        with torch.no_grad():
            return control(x, t, region, control.encode_condition(anatomy, coordinates, target))[0]

    assert not torch.allclose(middle(**given), middle(**given | {which: other[which]}), atol=1e-5)


@pytest.mark.parametrize("config", [PLAIN, ATTENTIVE], ids=["plain", "attentive"])
def test_the_copy_has_all_weights_of_the_unets_encoder(config):
    unet = randomised(UNet(config))
    copied = ControlNet.from_unet(unet).state_dict()
    for name in Encoder(config).state_dict():
        assert torch.equal(copied[name], unet.state_dict()[name]), name


def test_changing_the_copy_does_not_change_the_unet():
    network = controlled()
    before = copy.deepcopy(network.unet.state_dict())
    randomised(network.control, std=1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.unet.state_dict().items())


def reached(network):
    """Return the parameters of the ControlNet to which the last backward pass brought a gradient."""
    return {name for name, p in network.control.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("config", [PLAIN, ATTENTIVE], ids=["plain", "attentive"])
def test_training_reaches_the_zero_convolutions_then_what_lies_behind_them_and_never_the_unet(config):
    network = controlled(config).train()
    network.unet.requires_grad_(False)
    before = copy.deepcopy(network.unet.state_dict())
    optimizer = torch.optim.SGD(network.control.parameters(), lr=1.0)
    steps = []
    for _ in range(3):
        optimizer.zero_grad()
        estimate(network, inputs()[1]).square().mean().backward()
        steps.append(reached(network))
        optimizer.step()
    encoder = {"anatomy.weight", "region.weight", "time.0.weight", "conv_image.weight", "conv_condition.weight"}
    encoder |= {"down.0.blocks.0.conv1.weight", "downsample.0.weight", "middle2.conv2.weight"}
    assert steps[0] == {f"{name}.{kind}" for name in ZERO for kind in ("weight", "bias")}
    assert steps[0] | encoder | {"target.4.weight"} <= steps[1]
    assert "target.0.weight" not in steps[1]
    assert {"target.0.weight", "target.2.weight"} <= steps[2]
    assert all(parameter.grad is None for parameter in network.unet.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.unet.state_dict().items())


def test_a_controlled_network_without_a_target_is_refused():
    with pytest.raises(ValueError, match="a controlled network needs a target condition"):
        estimate(controlled(), inputs()[1][:2])


def test_a_unet_refuses_a_target():
    with pytest.raises(ValueError, match="takes no target condition; it needs a ControlNet"):
        estimate(UNet(PLAIN), inputs()[1])
