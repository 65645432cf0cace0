"""A DICOM SEG of labels.

Choice: BINARY, a frame for each slice of each segment: label maps in one frame take less space, and fewer viewers open
them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from meddiff import __version__
from meddiff.derived.codes import meaning_of
from meddiff.derived.series import MAKER
from meddiff.volumes.geometry import Grid


def seg_of(labels_zyx: np.ndarray, names: Mapping[int, str], headers: list[Any], _: Grid) -> Any:
    """Return the SEG of labels on the slices of a series, each of which has a header."""
    import highdicom
    from pydicom.uid import generate_uid

    numbers = np.zeros(max(names) + 1, np.uint8)
    numbers[list(names)] = np.arange(1, len(names) + 1)  # a SEG counts its segments from 1 on
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=numbers[labels_zyx],
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(number, name) for number, name in enumerate(names.values(), start=1)],
        series_instance_uid=generate_uid(),
        series_number=int(headers[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        series_description=f"segmentation by {MAKER}",
    )


def _described(number: int, name: str) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    meaning = meaning_of(name)
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=meaning.category,
        segmented_property_type=meaning.type,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=MAKER, family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
    )
    if meaning.side:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [meaning.side]
    return described
