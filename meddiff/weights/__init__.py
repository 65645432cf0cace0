"""The models that come with the package, as `meddiff model pack` writes them: a folder each, and sha256 of all files.

They are what the verbs use when no other model is given, and what training may start from (`training.start_from`).
"""

from pathlib import Path

from meddiff.errors import UserError
from meddiff.machine.files import read_json, sha256

FOLDER = Path(__file__).parent
CHECKSUMS = "sha256.json"
SHIPPED = "shipped"  # the word for them in a configuration
FOUNDATION, LESIONS, SUPER_RESOLUTION = "meddiff-fm", "lesions", "super-resolution"
CONTROLS = SUPER_RESOLUTION, LESIONS  # what the verbs use, with the foundation model, when no other is given


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
        raise UserError(
            f"{name}: no model of this name comes with this installation (it has {have}); install it again, or give a "
            "folder, with --model and --control or as arguments of from_pretrained"
        )
    for file, checksum in read_json(FOLDER / CHECKSUMS).items():
        path = FOLDER / file
        if Path(file).parts[0] == name and not (path.is_file() and sha256(path) == checksum):
            raise UserError(f"{path}: not the file that came with the package; install it again")
    return FOLDER / name


def shipped_control(name: str, model: Path | str) -> Path:
    """Return the folder of a ControlNet that comes with the package.

    Args:
        name: one of `CONTROLS`.
        model: folder of the model that it shall control.

    Raises:
        UserError: that is not the package's, whose ControlNets fit no other; or as `shipped_bundle`.
    """
    if Path(model).resolve() != (FOLDER / FOUNDATION).resolve():
        raise UserError(
            f"{model}: not the package's own model, so its ControlNet for {name} has to be given, with --control or as "
            f'from_pretrained({name.replace("-", "_")}="...")'
        )
    return shipped_bundle(name)
