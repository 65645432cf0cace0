"""One pass, launched and recorded, with stand-ins for CUDA's graphs: a GPU itself is not tested."""

from contextlib import contextmanager

import pytest
import torch

from meddiff.config import LevelWeights, MachineConfig, TrainingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.model.unet import UNet
from meddiff.store.patches import PatchDataset, collate
from meddiff.training.objective import Noising, Objective
from meddiff.training.passes import LaunchedPass, RecordedPass, make_pass
from meddiff.training.run import Run
from tests import cuda_graphs
from tests.training import SMALL

CONFIG = TrainingConfig(batch_size=2, accumulation=2)


class StandIn:
    """A graph whose replay reads and writes the memory that the pass read and wrote while it was recorded."""

    def replay(self):
        batch, noising, loss, gradients = self.recorded
        parameters = self.launched.parameters
        before = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        loss.copy_(LaunchedPass.__call__(self.launched, batch, noising))
        for parameter, gradient, earlier in zip(parameters, gradients, before, strict=True):
            gradient.copy_(parameter.grad)
            parameter.grad = earlier


class Traced(LaunchedPass):
    """A pass that tells the graph that is being recorded what it reads and writes."""

    graph, error, calls = None, None, 0

    def __call__(self, batch, noising):
        self.calls += 1
        if self.graph and self.error:
            raise self.error
        loss = super().__call__(batch, noising)
        if self.graph:
            self.graph.recorded = batch, noising, loss, [parameter.grad for parameter in self.parameters]
        return loss


@pytest.fixture
def launched(monkeypatch):
    torch.manual_seed(0)
    network = UNet(SMALL)
    torch.nn.init.normal_(network.conv_out.weight)  # without it no gradient would go further
    launched = Traced(Objective(network, Schedule(1000), "v"), CONFIG)

    @contextmanager
    def recorded(graph, **_):
        launched.graph = graph
        graph.launched = launched
        try:
            yield
        finally:
            launched.graph = None

    cuda_graphs.install(monkeypatch, StandIn, recorded)
    return launched


@pytest.fixture
def batches(record):
    data = PatchDataset([record], LevelWeights(), 16, 0, 6)
    return [(collate([data[2 * n], data[2 * n + 1]]), n) for n in range(3)]


def gathered(one_pass, launched, batches):
    """Return the losses and the gradients of two steps: one of two passes, one of a single pass."""
    losses, gradients = [], []
    for step in (batches[:2], batches[2:]):
        losses += [one_pass(batch, Noising.draw(batch, 1000, seed)) for batch, seed in step]
        gradients.append([parameter.grad for parameter in launched.parameters])
        for parameter in launched.parameters:
            parameter.grad = None
    return losses, gradients


def test_a_recorded_pass_adds_the_gradients_of_a_launched_one(launched, batches):
    expected = gathered(launched, launched, batches)
    found = gathered(RecordedPass(launched), launched, batches)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_pass_is_recorded_once(launched, batches):
    gathered(RecordedPass(launched), launched, batches)
    assert launched.calls == 4  # three to warm up, and that which is recorded; replays launch nothing


def test_what_cannot_be_recorded_is_launched(launched, batches, caplog):
    expected = gathered(launched, launched, batches)
    launched.calls, launched.error = 0, RuntimeError("operation not permitted")
    with caplog.at_level("INFO"):
        found = gathered(RecordedPass(launched), launched, batches)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert launched.calls == 4 + 3  # it is not tried again
    assert caplog.text.count("operation not permitted") == 1


def test_a_lack_of_memory_is_told(launched, batches):
    launched.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        gathered(RecordedPass(launched), launched, batches)


@pytest.mark.parametrize(
    ("device", "wanted", "kind"),
    [("cpu", True, LaunchedPass), ("cuda", True, RecordedPass), ("cuda", False, LaunchedPass)],
)
def test_a_gpu_records_where_the_configuration_wants_it(tmp_path, device, wanted, kind):
    run = Run("test", tmp_path, 0, torch.device(device), 1, machine=MachineConfig(cuda_graphs=wanted))
    assert type(make_pass(Objective(UNet(SMALL), Schedule(1000), "v"), CONFIG, run)) is kind
