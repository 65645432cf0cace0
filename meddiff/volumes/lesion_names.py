"""Which names of regions and segments mean a lesion, by their words as AAPM TG-263 and everyday use write them.

`Lungs-GTV` is the lungs without the tumour, `GTV_ring` what lies around it, `PreviousLesionBed` where it was: they hold
a lesion's word and are none.
"""

import re
from collections.abc import Iterable

from meddiff.errors import CaseError

LESION = re.compile(r"i?gtvs?([np]{0,2}|sd)|lesions?|tumou?rs?|nodules?")  # a whole word; GTVp and GTVn of TG-263
STEMS = ("gtv", "lesion", "tumor", "tumour", "nodule")
# Choice: what keeps a name with a lesion's word from meaning the lesion itself.
NOT_LESION = set(
    "minus without ohne sub subtract subtracted ex excl exclude excluded excluding except but non no not "
    "normal healthy tissue parenchyma background free "
    "previous prev prior former old bed cavity resection resected surgical postop removed "
    "ring rings shell rind rim margin margins edge border wall halo peri around near outside surrounding adjacent "
    "expanded expansion exp ext extended dilated avoid avoidance opt dose help dummy "
    "ptv ctv itv prv envelope x z".split()
)
# Choice: in front of a hyphen these only say which lesion it is; of anything else the lesion is taken away.
QUALIFIERS = set("l r left right lt rt primary pri main ct pt pet mr mri m no nr patient case".split())


def lesions_among(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names that mean a lesion, and those that hold a lesion's word and may mean something else.

    Where there is a gross tumour volume, that of its motion (IGTV) is not the lesion of this scan.

    Raises:
        CaseError: no name clearly means a lesion.
    """
    names = list(dict.fromkeys(names))
    alike = [name for name in names if any(stem in name.lower() for stem in STEMS)]
    meant = [name for name in alike if means_lesion(name)]
    still = [name for name in meant if "igtv" not in name.lower()]
    if not alike:
        raise CaseError("no region or segment is called a lesion")
    if not meant:
        raise CaseError(f"no region is clearly a lesion: {', '.join(alike)}; call the one that is meant GTV or lesion")
    chosen = still or meant
    return chosen, [name for name in alike if name not in chosen]


def means_lesion(name: str) -> bool:
    """Return whether a name means a lesion itself."""
    words = _words(name)
    places = [place for place, word in enumerate(words) if LESION.fullmatch(word)]
    if not places or NOT_LESION & set(words) or _is_enlarged(name):
        return False
    before = words[: places[0]]
    return "-" not in before or all(word in QUALIFIERS or word.isdigit() or word == "-" for word in before)


def _words(name: str) -> list[str]:
    """Return the words in small letters, split where letters turn large or digits begin; a hyphen is a word, too."""
    spaced = re.sub(
        r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", re.sub("[\u2010-\u2015\u2212~]", "-", name)
    )
    return re.findall(r"[^\W\d_]+|\d+|-", spaced.lower())


def _is_enlarged(name: str) -> bool:
    """Return whether a margin was added: `GTV+5`, `GTV 5mm`; of others millimetres are the size."""
    return bool(re.search(r"\+\s*\d|gtv.*\d\s*(mm|cm)", name.lower()))
