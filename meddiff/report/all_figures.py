"""All figures of chosen cases, each declared here alone: rules, report and Snakemake's report go through this list."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A folder with a picture of each chosen case.

    Args:
        name: of the folder.
        number: in the paper, `v3` for its third version, a dash where it has none.
        shows: what is to be seen, in Snakemake's report.
    """

    name: str
    number: str
    shows: str


FIGURES = (
    Figure("synthesis", "5", "scan and synthetic twins"),
    Figure("denoising", "6", "low dose, denoised, difference to normal dose"),
    Figure("anomaly", "7", "anomaly map and lesion"),
    Figure("generated", "8", "lesion drawn from anatomy and mask"),
    Figure("inpainted", "9", "lesion drawn into the scan"),
    Figure("thin_slices", "v3", "thin slices out of thick ones"),
    Figure("training", "-", "loss of each model"),
)
