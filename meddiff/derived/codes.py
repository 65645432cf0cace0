"""SNOMED CT codes of what is segmented; those of organs are TotalSegmentator's own table of its classes."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.machine.extras import require

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept


@dataclass(frozen=True)
class Meaning:
    """Category and type of a segment, and the side of the body, if it has one."""

    category: "CodedConcept"
    type: "CodedConcept"
    side: "CodedConcept | None" = None


def meaning_of(name: str) -> Meaning:
    """Return what a segment means by its name: a class of TotalSegmentator, the rest of the body, or else a lesion.

    Raises:
        UserError: TotalSegmentator, which knows the codes of its classes, is not installed.
    """
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    if name in CLASS_IDS:
        entry = _table()[name]
        parts = [entry[part] for part in ("property_category", "property_type", "property_modifier")]
        category, kind, side = (part and CodedConcept(part["value"], part["scheme"], part["meaning"]) for part in parts)
        return Meaning(category, kind, side)
    if name == "body":
        found = codes.cid7150.Tissue, codes.SCT.BodyTissueStructure
    else:
        found = codes.cid7150.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    return Meaning(*(CodedConcept.from_code(code) for code in found))


@cache
def _table() -> dict:
    require("totalsegmentator")
    from totalsegmentator.dicom_utils import load_snomed_mapping

    return load_snomed_mapping()
