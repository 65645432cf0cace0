"""The feature network is the published MedicalNet: its own definition, written down once more, and its files."""

import pytest
import torch
import torch.nn.functional as F

from meddiff.config import EvaluationConfig
from meddiff.metrics import extractor as networks
from meddiff.metrics import medicalnet, medicalnet_weights
from meddiff.metrics.medicalnet import ARCHITECTURES, MedicalNet

# Parameters that Med3D's table of running times prints, in millions, and the bytes of its published files.
PARAMETERS_MILLION = {"resnet10": 14.36, "resnet18": 32.99, "resnet34": 63.31, "resnet50": 46.21}
FILE_BYTES = {"resnet18": 131_992_196, "resnet34": 253_276_232, "resnet50": 184_885_051}
BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
CONVOLUTION_SHORTCUT = {"resnet10": True, "resnet18": False, "resnet34": False, "resnet50": True}


def published_features(state, x, network):
    """MedicalNet as a list of operations on tensors of its state dict, strides and dilations in plain sight."""

    def norm(h, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(h, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training=False, eps=1e-5)

    def conv(h, name, **how):
        return F.conv3d(h, state[f"{name}.weight"], **how)

    x = torch.relu(norm(conv(x, "conv1", stride=2, padding=3), "bn1"))
    x = F.max_pool3d(x, kernel_size=3, stride=2, padding=1)
    layers = (("layer1", 1, 1), ("layer2", 2, 1), ("layer3", 1, 2), ("layer4", 1, 4))
    for (layer, first_stride, dilation), blocks in zip(layers, BLOCKS[network], strict=True):
        for i in range(blocks):
            block, stride = f"{layer}.{i}", first_stride if i == 0 else 1
            wide = {"padding": dilation, "dilation": dilation}
            if network == "resnet50":
                h = torch.relu(norm(conv(x, f"{block}.conv1"), f"{block}.bn1"))
                h = torch.relu(norm(conv(h, f"{block}.conv2", stride=stride, **wide), f"{block}.bn2"))
                h = norm(conv(h, f"{block}.conv3"), f"{block}.bn3")
            else:
                h = torch.relu(norm(conv(x, f"{block}.conv1", stride=stride, **wide), f"{block}.bn1"))
                h = norm(conv(h, f"{block}.conv2", **wide), f"{block}.bn2")
            if h.shape == x.shape:
                around = x
            elif CONVOLUTION_SHORTCUT[network]:
                around = norm(conv(x, f"{block}.downsample.0", stride=stride), f"{block}.downsample.1")
            else:
                around = F.avg_pool3d(x, kernel_size=1, stride=stride)
                around = torch.cat([around, torch.zeros_like(h[:, around.shape[1] :])], dim=1)
            x = torch.relu(h + around)
    return x


def with_random_statistics(network):
    """A network whose normalisations do something, as trained ones do."""
    torch.manual_seed(3)
    net = MedicalNet(network).double().eval()
    statistics = dict(net.named_buffers()) | {name: p.data for name, p in net.named_parameters() if p.dim() == 1}
    for name, tensor in statistics.items():
        if name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
    return net


@pytest.mark.parametrize("network", sorted(ARCHITECTURES))
def test_features_are_those_of_the_published_network(network):
    net = with_random_statistics(network)
    x = torch.randn(1, 1, 40, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        expected = published_features(net.state_dict(), x, network)
        torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("network", sorted(ARCHITECTURES))
def test_features_are_an_eighth_of_the_volume(network):
    with torch.device("meta"):
        h = MedicalNet(network).eval()(torch.zeros(1, 1, 64, 32, 48))
    assert h.shape[2:] == (8, 4, 6)
    assert h.shape[1] == (2048 if network == "resnet50" else 512)


@pytest.mark.parametrize("network", sorted(ARCHITECTURES))
def test_the_number_of_parameters_is_the_published_one(network):
    with torch.device("meta"):
        state = MedicalNet(network).state_dict()
    count = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    assert round(count / 1e6, 2) == pytest.approx(PARAMETERS_MILLION[network], abs=0.011)
    if network in FILE_BYTES:  # beside the numbers a file has names and sizes alone
        assert 0 < FILE_BYTES[network] - 4 * count < 60_000


@pytest.mark.parametrize("network", sorted(ARCHITECTURES))
def test_published_weights_load_strictly(network, tmp_path, monkeypatch):
    """MedicalNet's files hold `module.` names, and no more than the network has."""
    import huggingface_hub

    from meddiff.machine.files import sha256

    monkeypatch.setattr(medicalnet, "WIDTHS", (4, 8, 16, 32))  # names and strictness do not depend on the width
    torch.manual_seed(1)
    state = {f"module.{name}": tensor for name, tensor in MedicalNet(network).state_dict().items()}
    file = tmp_path / "published.pth"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    config = EvaluationConfig(network=network, weights="medicalnet")

    def publish(content):
        torch.save({"state_dict": content}, file)
        monkeypatch.setitem(medicalnet_weights.PUBLISHED, network, ("repository", "file", sha256(file)))

    publish(state)
    networks.prepare(config, 0, tmp_path / "w", tmp_path / "w.json")
    loaded = networks.load(tmp_path / "w", tmp_path / "w.json", torch.device("cpu"))
    for name, tensor in loaded.net.state_dict().items():
        assert torch.equal(tensor, state[f"module.{name}"])

    for broken in (
        {name: tensor for name, tensor in state.items() if name != "module.layer4.0.conv2.weight"},
        state | {"module.layer1.0.downsample.0.weight": torch.zeros(64, 64, 1, 1, 1)}
        if not CONVOLUTION_SHORTCUT[network]
        else state | {"module.fc.weight": torch.zeros(1)},
    ):
        publish(broken)
        with pytest.raises(RuntimeError, match="Error\\(s\\) in loading state_dict"):
            networks.prepare(config, 0, tmp_path / "w2", tmp_path / "w2.json")
