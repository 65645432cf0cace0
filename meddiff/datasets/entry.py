"""What an entry of the registry says."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from meddiff.config import Organ, Region

SPLITS = ("train", "val", "test")
SHAREABLE = re.compile(r"CC BY(-SA)? \d\.\d")
LUNG_LESION_HU = (-700.0, 200.0)  # also of small ones with air around; the lung itself is darker
PROVIDER_FILE = "SOURCE.json"  # written last by whoever provides the data, so never a case


@dataclass(frozen=True)
class Remote:
    """An archive that can be had without registration.

    `digest` is `sha256:...` or `md5:...` as the publisher or a public record gives it; where none is known the size is
    compared instead.
    """

    url: str
    digest: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True)
class SplitTable:
    """A publisher's table that tells each case's split: a file below the base, and two of its columns."""

    file: str
    case: str
    split: str
    delimiter: str = ","


@dataclass(frozen=True)
class HeaderTable:
    """Tables in CT-RATE's format with what the own headers of some images lack: globs of the tables and the images."""

    files: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """One dataset, with its files as the publisher lays them out below a base.

    The base is the root, or a folder of an archive's own up to three levels below it.

    `image` are globs that give one file, or one folder with a DICOM series, per case; where several of them give the
    same case, the first one counts. `exclude` are globs of paths or names that are no case. `case` is a regular
    expression whose groups, in the image's path below the base, name the case; by default its own name does, or its
    folder's where all files are called the same.

    `patient` is a regular expression whose group, in the same path, names the patient, of whom there may be several
    cases; by default each case is a patient. `PATIENT_ID` in its place stands for the tag of a DICOM series.

    `official_split` maps case names to splits, `split_globs` does so for paths below the base, `split_table` names the
    publisher's own table, and `split_sizes` is how many cases it has in train, val and test. It counts where the
    configuration asks for it, or always where `split_of` says whose it is: numbers to compare with were made on it.
    `header_table` names tables with what the images' own headers lack.

    `lesion`, `low_dose` and `thick` say where a case's lesion labels, its scan at low dose and that with thick slices
    lie: paths below the base with `{name}` and `{parent}` of the image and `{case}`, the first group, in them; the
    first that exists counts. `lesion_values` are the labels that are lesions, none given: all but 0.
    `lesion_on_scan_grid` says that a label map's voxels are those of the scan, whatever its header says.
    `lesion_hu` is the range in which the median HU under a case's labels lies; labels elsewhere are misplaced.
    `lesion_organ` is where lesions lie, if it is one of those in which anomalies are looked for.

    `shares_scans_with` maps names of datasets to the number of their scans that this one is known to hold, too.

    `provider` is who makes the files: the user's disk, the demo's packages or the phantom generator.
    """

    name: str
    title: str
    region: Region
    image: tuple[str, ...] = ("*",)
    cases_paper: int | None = None
    cases_published: int | None = None
    role: str = "pretraining"
    provider: str = "disk"
    exclude: tuple[str, ...] = ()
    case: str = ""
    patient: str = ""
    split_of: str = ""
    split_sizes: tuple[int, int, int] | None = None
    official_split: dict[str, str] = field(default_factory=dict)
    split_globs: dict[str, str] = field(default_factory=dict)
    split_table: SplitTable | None = None
    header_table: HeaderTable | None = None
    lesion: tuple[str, ...] = ()
    lesion_values: tuple[int, ...] = (1,)
    lesion_on_scan_grid: bool = False
    lesion_hu: tuple[float, ...] = ()
    lesion_organ: Organ | None = None
    low_dose: tuple[str, ...] = ()
    thick: tuple[str, ...] = ()
    shares_scans_with: dict[str, int] = field(default_factory=dict)
    licence: str = ""
    page: str = ""
    steps: str = ""
    files: tuple[Remote, ...] = ()
    root: Path | None = None

    @property
    def weights_may_be_shared(self) -> bool:
        """Whether the licence lets anybody have what was made of the scans, for any purpose, if the source is named.

        Choice: Creative Commons BY and BY-SA do; what is for research alone, is signed for or states no licence counts
        as closed.
        """
        return SHAREABLE.fullmatch(self.licence) is not None

    @property
    def cases_expected(self) -> int | None:
        """How many cases the paper used, or the publisher has where the paper has not used it."""
        return self.cases_paper or self.cases_published
