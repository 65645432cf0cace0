"""Odd series are read as GDCM, dcm2niix and the standard have them, and damaged files end in a result or a reason."""

import pytest

from tests.volumes.dicom.differential import compare
from tests.volumes.differential import flip_in_a_child


@pytest.mark.parametrize("seed", range(100))
def test_an_odd_series_is_read_as_others_read_it_or_refused_with_the_reason(seed):
    assert compare(seed) in ("read", "refused")


def test_flipped_bytes_end_in_a_result_or_a_reason():
    outcomes = flip_in_a_child(first=0, count=96, module="tests.volumes.dicom.differential")
    assert outcomes["read"] > 10
    assert outcomes["refused"] > 10
