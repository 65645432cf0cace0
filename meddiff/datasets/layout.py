"""Where a dataset's cases lie on this disk: its globs, and what belongs to each image."""

import csv
import logging
import os
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from meddiff.config import PATIENT_ID
from meddiff.datasets import listing
from meddiff.datasets.entry import PROVIDER_FILE, SPLITS, Dataset, SplitTable
from meddiff.datasets.names import names_of, own_name, plain
from meddiff.errors import UserError
from meddiff.volumes.ct_rate import Header, read_headers

log = logging.getLogger(__name__)


Place = tuple[Path, Path]  # an entry, and the base that it lies below


@dataclass(frozen=True)
class Found:
    """One case as it lies on disk: `image` below `base`, and what belongs to it."""

    name: str
    patient: str
    image: Path
    base: Path
    official_split: str | None
    header: Header | None
    quarantine: str
    lesion: Path | None
    low_dose: Path | None
    thick: Path | None


class Layout:
    """A dataset's entry, applied to its root folder."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def cases(self) -> list[Found]:
        """Return the cases, sorted by name.

        Raises:
            UserError: the root does not exist or has another layout, two entries have the same name, or a pattern for
                what belongs to a case fits none.
        """
        images: dict[str, Place] = {}
        for pattern in self.dataset.image:
            places = [(path, base) for base in self.bases for path in sorted(base.glob(self._glob(pattern)))]
            images = (
                self._named([(path, base) for path, base in places if self._is_case(path.relative_to(base))]) | images
            )
        if not images:
            raise UserError(
                f"data.datasets: {self.dataset.name}: expected {' or '.join(self.dataset.image)} below {self._root}, "
                f"found {listing(self._root)}; correct its root or give `image`"
            )
        found = [self._found(name, *images[name]) for name in sorted(images)]
        self._check_patterns(found)
        return [replace(case, patient=case.patient or case.name) for case in found]

    @cached_property
    def _root(self) -> Path:
        root = self.dataset.root
        if root is None or not root.is_dir():
            raise UserError(f"data.datasets: {self.dataset.name}: the folder {root} does not exist; correct its root")
        return root

    @cached_property
    def bases(self) -> list[Path]:
        """The root, or those folders up to three levels below it that have the layout: an archive's own top folder."""
        level = [self._root]
        for _ in range(4):
            if any(self._matches(base) for base in level):
                return level
            level = [path for base in level for path in sorted(base.iterdir()) if path.is_dir()]
        return []

    def _matches(self, base: Path) -> bool:
        paths = (path.relative_to(base) for pattern in self.dataset.image for path in base.glob(self._glob(pattern)))
        return any(self._is_case(path) for path in paths)

    def _glob(self, pattern: str) -> str:
        """Return a glob that also finds links to nothing, as scans that DataLad has not fetched are.

        `Path.glob` looks whether a name without any wildcard exists, and compares others. What is published is taken as
        it lies here: its patterns say which of two files counts.
        """
        folders, slash, name = pattern.rpartition("/")
        plain_name = name and not set(name) & set("*?[") and not self.dataset.cases_expected
        return f"{folders}{slash}[{name[0]}]{name[1:]}" if plain_name else pattern

    def _is_case(self, relative: Path) -> bool:
        if relative.name == PROVIDER_FILE or any(p.startswith(".") or p == "__MACOSX" for p in relative.parts):
            return False
        return not any(fnmatch(relative.as_posix(), g) or fnmatch(relative.name, g) for g in self.dataset.exclude)

    def _named(self, places: list[Place]) -> dict[str, Place]:
        """Return the cases at these places by their names.

        What is published has names of its own; in a dataset of one's own they are whatever tells the files apart.
        """
        named: dict[str, Place] = {}
        names = {place: self._name(place[0].relative_to(place[1])) for place in places}
        if not (self.dataset.case or self.dataset.cases_expected):
            below_root = {path.relative_to(self._root): name for (path, _), name in names.items()}
            spelled = names_of(below_root)
            names = {(path, base): spelled[path.relative_to(self._root)] for path, base in places}
        for place, name in names.items():
            named[name] = self._one_of(name, named[name], place) if name in named else place
        return named

    def _name(self, relative: Path) -> str:
        return plain(*self._groups(relative)) or own_name(relative)

    def _groups(self, relative: Path) -> tuple[str, ...]:
        match = re.search(self.dataset.case, relative.as_posix()) if self.dataset.case else None
        return match.groups("") if match else ()

    def _patient(self, image: Path, relative: Path) -> str:
        """Return who the scan is of, empty where nothing tells."""
        if self.dataset.patient == PATIENT_ID:
            from meddiff.volumes.dicom.headers import patient_key

            return patient_key(image)
        match = re.search(self.dataset.patient, relative.as_posix()) if self.dataset.patient else None
        return (match.group(1) or "") if match else ""

    def _one_of(self, name: str, first: Place, second: Place) -> Place:
        """Of several DICOM series of a case, the one with most files; files of one name are a mistake."""
        if self.dataset.case and first[0].is_dir() and second[0].is_dir():
            return max(first, second, key=lambda place: len(os.listdir(place[0])))
        raise UserError(
            f"data.datasets: {self.dataset.name}: {first[0]} and {second[0]} are both case {name!r}; rename one"
            + (", or correct `case`" if self.dataset.case else "")
        )

    def _found(self, name: str, image: Path, base: Path) -> Found:
        relative = image.relative_to(base)
        groups = self._groups(relative)
        words = {"name": image.name, "parent": relative.parent.as_posix(), "case": groups[0] if groups else name}
        partners = (
            _first_that_exists(base, patterns, words)
            for patterns in (self.dataset.lesion, self.dataset.low_dose, self.dataset.thick)
        )
        header, problem = self._header(relative, base)
        problem = problem or ("" if _is_utf8(image) else "its path is not UTF-8, as programs expect; rename it")
        patient = self._patient(image, relative)
        return Found(name, patient, image, base, self._official_split(name, relative, base), header, problem, *partners)

    def _check_patterns(self, found: list[Found]) -> None:
        """Tell a pattern that fits no case from cases that have no lesion, no number and nobody else's scan.

        What is published may lie here in part, so there it is a warning.

        Raises:
            UserError: a pattern of a dataset of one's own fits nothing.
        """
        dataset, number = self.dataset, len(found)
        strangers = [case.name for case in found if not case.patient]
        misses = {
            "lesion": (" or ".join(dataset.lesion), sum(case.lesion is None for case in found)),
            "case": (dataset.case, sum(not self._groups(case.image.relative_to(case.base)) for case in found)),
            "patient": (dataset.patient, len(strangers)),
        }
        for key, (pattern, missed) in misses.items():
            if pattern and missed == number:
                first = found[0].image.relative_to(found[0].base)
                text = f"`{key}`, {pattern}, fits none of its {number} cases, such as {first}"
                if not dataset.cases_expected:
                    raise UserError(f"data.datasets: {dataset.name}: {text}; correct it")
                log.warning("%s: %s", dataset.name, text)
        if dataset.patient and 0 < len(strangers) < number:
            log.warning(
                "%s: `patient`, %s, says of %d of %d cases nothing, such as %s; each of these counts as a patient",
                dataset.name, dataset.patient, len(strangers), number, strangers[0],
            )  # fmt: skip

    def _header(self, relative: Path, base: Path) -> tuple[Header | None, str]:
        """Return what the image's own header lacks, or why that is not known."""
        table = self.dataset.header_table
        if table is None or not any(fnmatch(relative.as_posix(), pattern) for pattern in table.images):
            return None, ""
        header = self._headers[base].get(relative.name)
        return header, "" if header else f"no row of {table.files} tells its spacing and rescaling"

    @cached_property
    def _headers(self) -> dict[Path, dict[str, Header]]:
        table = self.dataset.header_table
        return {base: read_headers(sorted(base.glob(table.files))) for base in self.bases} if table else {}

    def _official_split(self, name: str, relative: Path, base: Path) -> str | None:
        for pattern, split in self.dataset.split_globs.items():
            if fnmatch(relative.as_posix(), pattern):
                return split
        of_table = self._split_table.get(base, {})
        return self.dataset.official_split.get(name) or of_table.get(name)

    @cached_property
    def _split_table(self) -> dict[Path, dict[str, str]]:
        table = self.dataset.split_table
        if table is None:
            return {}
        files = {base: base / table.file for base in self.bases}
        return {base: _read_splits(path, table) for base, path in files.items() if path.exists()}


def _read_splits(path: Path, table: SplitTable) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=table.delimiter))
    for row in rows:
        if table.case not in row or row.get(table.split) not in SPLITS:
            raise UserError(
                f"{path}: expected the columns {table.case} and {table.split} with {', '.join(SPLITS)}, found "
                f"{', '.join(f'{k} {v}' for k, v in row.items())[:80]}; correct or remove it"
            )
    return {row[table.case]: row[table.split] for row in rows}


def _first_that_exists(base: Path, patterns: tuple[str, ...], words: dict[str, str]) -> Path | None:
    for pattern in patterns:
        path = Path(os.path.normpath(base / pattern.format(**words)))
        if path.exists():
            return path
    return None


def _is_utf8(path: Path) -> bool:
    return str(path).encode(errors="replace").decode() == str(path)
