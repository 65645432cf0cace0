"""Networks compute in bfloat16 on what is made for it, and else in float32."""

import pytest
import torch

from meddiff.machine import device
from meddiff.machine.device import autocast, has_bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def asked_anew():
    has_bfloat16.cache_clear()
    yield
    has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx2": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"neon": True}, torch.float32),
    ],
)
def test_a_processor_computes_in_bfloat16_when_it_has_instructions_for_it(monkeypatch, instructions, expected):
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: instructions)
    with autocast(CPU, bfloat16=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_float32_stays_where_it_is_configured():
    with autocast(CPU, bfloat16=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_what_a_processor_lacks_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: {"avx2": True})
    caplog.set_level("INFO")
    assert [has_bfloat16("cpu"), has_bfloat16("cpu")] == [False, False]
    assert caplog.text.count("this cpu has no instructions for bfloat16") == 1


def test_a_gpu_that_only_emulates_bfloat16_is_not_made_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation))
    assert not has_bfloat16("cuda")
    assert asked == [False]


@pytest.mark.parametrize(
    ("kind", "instructions", "expected"),
    [
        ("cpu", {"avx2": True}, False),
        ("cpu", {"avx512_vnni": True, "amx_int8": False}, True),
        ("cpu", {"avx512_vnni": False, "amx_int8": True}, True),
        ("cuda", {"avx512_vnni": True}, False),
    ],
)
def test_integers_of_eight_bits_are_for_processors_with_instructions_for_them(
    monkeypatch, kind, instructions, expected
):
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: instructions)
    assert device.has_int8(kind) == expected
