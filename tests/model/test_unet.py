"""The U-Net: shapes, conditions, and its blocks against plain references."""

import pytest
import torch
import torch.nn.functional as F

from meddiff.config import Config, NetworkConfig
from meddiff.model.blocks import Attention, parameter_count, time_features
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, position_frequencies=2
)


def inputs(size=(16, 16, 16), batch=2):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 1, *size, generator=generator)
    anatomy = torch.randint(0, 119, (batch, *size), generator=generator, dtype=torch.uint8)
    coordinates = random_coordinates(batch, size, generator)
    return x, torch.tensor([10, 900][:batch]), torch.tensor([0, 2][:batch]), anatomy, coordinates


def randomised(config=SMALL):
    torch.manual_seed(0)
    network = UNet(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def run(network, x, t, region, anatomy, coordinates):
    with torch.no_grad():
        return network(x, t, region, network.encode_condition(anatomy, coordinates))


@pytest.mark.parametrize("size", [(16, 16, 16), (8, 12, 20), (2, 2, 2)])
def test_any_size_that_divides_works(size):
    assert run(randomised(), *inputs(size)).shape == (2, 1, *size)


def test_other_sizes_are_refused_clearly():
    with pytest.raises(ValueError, match=r"\(16, 16, 15\) must be multiples of 2"):
        run(randomised(), *inputs((16, 16, 15)))


def test_a_new_network_estimates_nothing():
    assert (run(UNet(SMALL), *inputs()) == 0).all()


@pytest.mark.parametrize("which", ["x", "t", "region", "anatomy", "coordinates"])
def test_the_estimate_depends_on_every_input(which):
    network = randomised()
    given = dict(zip(("x", "t", "region", "anatomy", "coordinates"), inputs(), strict=True))
    changed = dict(given)
    changed[which] = {"t": given["t"] + 50, "region": (given["region"] + 1) % 3, "anatomy": 118 - given["anatomy"]}.get(
        which, given[which] * 0.5
    )
    assert not torch.allclose(run(network, **given), run(network, **changed), atol=1e-5)


@pytest.mark.parametrize("position", ["none", "coordinates", "embedding"])
def test_only_a_model_with_position_sees_the_place(position):
    network = randomised(SMALL.model_copy(update={"position": position}))
    x, t, region, anatomy, coordinates = inputs()
    same = torch.equal(
        run(network, x, t, region, anatomy, coordinates), run(network, x, t, region, anatomy, -coordinates)
    )
    assert same == (position == "none")


def test_the_split_first_convolution_is_the_plain_one():
    network = randomised().double()
    x, _, _, anatomy, coordinates = inputs()
    condition = network.encode_condition(anatomy, coordinates.double())
    split = network.conv_image(x.double(), condition)
    from meddiff.store.position import position_embedding

    stacked = torch.cat(
        (x.double(), network.anatomy(anatomy.int()).movedim(-1, 1), position_embedding(coordinates.double(), 2)), 1
    )
    weight = torch.cat((network.conv_image.weight, network.conv_condition.weight), 1)
    torch.testing.assert_close(split, F.conv3d(stacked, weight, network.conv_image.bias, padding=1))


def test_one_sample_does_not_see_the_other():
    network = randomised()
    together = run(network, *inputs())
    for i in range(2):
        alone = run(network, *(value[i : i + 1] for value in inputs()))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_attention_is_the_textbook_formula():
    torch.manual_seed(0)
    layer = Attention(channels=12, context=8, heads=3).double()
    tokens, context = torch.randn(2, 5, 12).double(), torch.randn(2, 4, 8).double()
    q = layer.query(tokens).view(2, 5, 3, 4)
    k, v = (part.view(2, 4, 3, 4) for part in layer.key_value(context).chunk(2, -1))
    weights = torch.softmax(torch.einsum("bnhd,bmhd->bhnm", q, k) / 2, -1)
    expected = layer.out(torch.einsum("bhnm,bmhd->bnhd", weights, v).reshape(2, 5, 12))
    torch.testing.assert_close(layer(tokens, context), expected)


def test_time_features_tell_timesteps_apart():
    features = time_features(torch.arange(1000), 32)
    assert features.shape == (1000, 32)
    distances = torch.cdist(features, features) + 10 * torch.eye(1000)
    assert distances.min() > 0.05


def test_the_papers_network_has_about_33_million_parameters():
    config = Config()
    with torch.device("meta"):
        network = UNet(config.network("meddiff-fm"))
    assert 28e6 < parameter_count(network) < 36e6
