"""The models that come with the package, as `meddiff model pack` writes them: a folder each, and sha256 of all files.

They are what the verbs use when no other model is given, and what training may start from (`training.start_from`).
"""

from pathlib import Path

from meddiff.errors import UserError
from meddiff.machine.files import read_json, sha256

FOLDER = Path(__file__).parent
CHECKSUMS = "sha256.json"
SHIPPED = "shipped"  # the word for them in a configuration
# What a verb uses where the package has no weights: what the pipeline leaves in its folder.
TRAINED_HERE = {
    "meddiff-fm": Path("results/models/meddiff-fm"),
    "super-resolution": Path("results/models/super-resolution"),
    "lesions": Path("results/models/lesions/demo-lung-lesions/fine-tune"),
}


def shipped_names() -> list[str]:
    """Return the names of the models that come with the package."""
    path = FOLDER / CHECKSUMS
    return sorted({Path(file).parts[0] for file in read_json(path)}) if path.exists() else []


def shipped_bundle(name: str) -> Path:
    """Return the folder of a model that comes with the package; its files are those that were packed.

    Raises:
        UserError: the package has no such model, or one of its files is another.
    """
    if name not in shipped_names():
        have = ", ".join(shipped_names()) or "none"
        raise UserError(f"{name}: no model of this name comes with this installation (it has {have})")
    for file, checksum in read_json(FOLDER / CHECKSUMS).items():
        path = FOLDER / file
        if Path(file).parts[0] == name and not (path.is_file() and sha256(path) == checksum):
            raise UserError(f"{path}: not the file that came with the package; install it again")
    return FOLDER / name


def default_bundle(name: str) -> Path:
    """Return the bundle that a verb uses when none is given: the package's, or else what was trained in this folder.

    Args:
        name: one of `TRAINED_HERE`.

    Raises:
        UserError: there is neither.
    """
    if name in shipped_names():
        return shipped_bundle(name)
    if not TRAINED_HERE[name].is_dir():
        option, argument = ("--model", "") if name == "meddiff-fm" else ("--control", f"{name.replace('-', '_')}=")
        raise UserError(
            f"no {name} comes with this installation and none lies in {TRAINED_HERE[name]}; give a folder "
            f'with {option}, or train one first (`make demo`); from Python: from_pretrained({argument}"...")'
        )
    return TRAINED_HERE[name]
