"""What an installation may lack: packages that the core does without, and the extra that brings them."""

from importlib.util import find_spec

from meddiff.errors import UserError

DISTRIBUTION = "meddiff-fm"
# By the names that are imported.
EXTRAS = {
    "anatomy": ("totalsegmentator", "pooch"),
    "dicom": ("gdcm", "highdicom", "skimage"),
    "pipeline": (
        "blosc2",
        "bm3d",
        "jinja2",
        "matplotlib",
        "nnunetv2",
        "pandas",
        "pytorch_fid",
        "snakemake",
        "tabulate",
        "tensorboard",
    ),
}


def how_to_get(module: str) -> str | None:
    """Return the command that brings a package; None for those of the core, and of others."""
    extra = next((name for name, modules in EXTRAS.items() if module.partition(".")[0] in modules), None)
    return extra and f"`pip install '{DISTRIBUTION}[{extra}]'`"


def require(module: str) -> None:
    """Refuse to begin without a package of an extra.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(module) is None:
        raise UserError(f"{module} is not installed; {how_to_get(module)} brings it")
