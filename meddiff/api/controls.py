"""The ControlNet that a task needs."""

from pathlib import Path

from meddiff.errors import UserError
from meddiff.model.control_bundle import slice_factor
from meddiff.weights import LESIONS, SUPER_RESOLUTION, shipped_control


def control_of(kind: str, given: Path | str | None, bundle: Path | str) -> Path:
    """Return the folder of a ControlNet.

    Args:
        kind: of lesions or super-resolution.
        given: the user's; none: the package's own.
        bundle: folder of the model that it shall control.

    Raises:
        UserError: there is none, or it is of the other kind.
    """
    folder = Path(given or shipped_control(kind, bundle))
    if (slice_factor(folder) is None) != (kind == LESIONS):
        other = SUPER_RESOLUTION if kind == LESIONS else LESIONS
        raise UserError(f"{folder}: a ControlNet for {other}; give one for {kind} with --control")
    return folder
