"""Which recordings are kept and what a call returns, with stand-ins for CUDA's graphs: a GPU itself is not tested."""

from contextlib import contextmanager
from typing import ClassVar
from weakref import WeakSet

import pytest
import torch

from meddiff.model.graphed import Graphed
from tests import cuda_graphs


class StandIn:
    """A graph whose replay doubles what lies where x lay, and writes it where the result was."""

    alive: ClassVar = WeakSet()

    def __init__(self):
        self.alive.add(self)

    def replay(self):
        self.result.copy_(2 * self.x)


class Doubling(torch.nn.Module):
    """A network that tells the graph that is being recorded where x and its result lie."""

    graph = None

    def forward(self, x, _t):
        result = 2 * x
        if self.graph:
            self.graph.x, self.graph.result = x, result
        return result


@pytest.fixture
def graphed(monkeypatch):
    network = Doubling()

    @contextmanager
    def recorded(graph, pool, **_):
        network.graph, graph.pool = graph, pool
        yield
        network.graph = None

    cuda_graphs.install(monkeypatch, StandIn, recorded)
    StandIn.alive.clear()
    return Graphed(network)


def call(graphed, value, batch=1, size=(8, 8, 8)):
    return graphed(torch.full((batch, 1, *size), value), torch.zeros(batch))


def test_a_result_outlives_the_next_call(graphed):
    first, second = call(graphed, 1.0), call(graphed, 2.0)
    assert (first == 2).all()
    assert (second == 4).all()


def test_batches_of_windows_of_one_size_are_recorded_once(graphed):
    for batch in (2, 1, 2, 1):
        assert (call(graphed, 3.0, batch) == 6).all()
    assert len(StandIn.alive) == 2
    assert len({graph.pool for graph in StandIn.alive}) == 1


def test_windows_of_another_size_take_the_place_of_those_before(graphed):
    pools = set()
    for side in (8, 10, 8):
        for batch in (1, 2):
            assert (call(graphed, 3.0, batch, (8, 8, side)) == 6).all()
        assert len(StandIn.alive) == 2
        (pool,) = {graph.pool for graph in StandIn.alive}
        pools.add(pool)
    assert len(pools) == 3
