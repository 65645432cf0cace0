"""How a case gets its name out of its path: of letters, digits and `-` alone, for files, identifiers and splits."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path

GENERIC_NAMES = {"ct", "image", "data", "dicom_anon", "full_1mm", "ctres"}
LONGEST = 160  # characters; what stages add to a name has room in the 255 of a file's


def plain(*parts: str) -> str:
    """Return parts of a path as one name, empty where nothing of them can be kept; too long a one ends in a digest."""
    text = "-".join(parts)
    name = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{_digest(text)}"


def own_name(path: Path) -> str:
    """Return what a path below the root is called by itself: as its file, or as its folders where that says nothing."""
    stem = _stem(path)
    generic = stem.lower() in GENERIC_NAMES and len(path.parts) > 1
    return plain(*(path.parts[:-1] if generic else (stem,))) or "case"


def names_of(own_names: dict[Path, str]) -> dict[Path, str]:
    """Return a name for each path below one root, all different, out of what each is called by itself.

    Paths that are called the same are called as their folders where each has folders of its own (`volume.nii.gz` of
    every patient), else as folders and file, and where that does not tell them apart (`scan 1` and `scan_1`, letters
    of another script) a digest of the path does.

    Choice: only names that meet are spelled out, since a case's name decides its split and names its files.
    """
    names: dict[Path, str] = {}
    with_digest = {path: f"{name}-{_digest(str(path))}" for path, name in own_names.items()}
    folders = {path: plain(*path.parts[:-1]) for path in own_names}
    files = {path: plain(*path.parts[:-1], _stem(path)) for path in own_names}
    for spelled in (own_names, folders, files, with_digest):
        often, taken = Counter(spelled.values()), set(names.values())
        names = {path: n for path, n in spelled.items() if n and often[n] == 1 and n not in taken} | names
    return names


def _stem(path: Path) -> str:
    return re.sub(r"(\.nii)?\.gz$|\.(nii|nrrd|mha|mhd)$", "", path.name, flags=re.IGNORECASE)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
