"""Datasets and their preparation: resampling, anatomy, regions, windows, low dose."""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from meddiff.config.base import Fraction, Organ, Region, Section

PATIENT_ID = "PatientID"


class DatasetConfig(Section):
    """One dataset to prepare; what is left out comes from the registry (`meddiff datasets`)."""

    name: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="A name of the registry, or a new one.")
    root: Path | None = Field(
        default=None, description="Folder with the dataset; demo and phantom data have their own."
    )
    region: Region | None = Field(default=None, description="What the scans show; `whole_body` scans are split.")
    image: str | None = Field(
        default=None, description="Glob of one entry per case below the root; default: every entry."
    )
    lesion: str | None = Field(
        default=None,
        description="Path of a case's lesion labels below the root, with the image's `{name}`, `{parent}` or `{case}`, "
        "such as `labels/{name}`; it makes an own dataset one of the downstream tasks.",
    )
    lesion_organ: Organ | None = Field(
        default=None, description="Where these lesions lie, `lung` or `liver`; it puts the dataset into Table 5."
    )
    case: str | None = Field(
        default=None,
        description="What a scan is called, where its own name does not do: a regular expression with a group for the "
        "image's path below the root; the group is also `{case}` of `lesion`. nnU-Net's names are "
        "`imagesTr/(.+)_0000` and `labelsTr/{case}.nii.gz`.",
    )
    patient: str | None = Field(
        default=None,
        description="Who a scan is of, so that nobody is in two splits: a regular expression with one group for the "
        "image's path below the root, such as `(P\\d+)_`, or `PatientID` for the tag of DICOM series; "
        "default: every case is a patient, but for published datasets, which have their own rules.",
    )

    @field_validator("image")
    @classmethod
    def _is_below_the_root(cls, pattern: str | None) -> str | None:
        try:
            list(
                Path(os.devnull).glob(pattern or "*")
            )  # what is no folder has no entries, but the pattern is looked at
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"{pattern!r} is no glob below the root ({error}); such as `*/ct.nii.gz`") from None
        return pattern

    @field_validator("lesion")
    @classmethod
    def _has_known_words(cls, pattern: str | None) -> str | None:
        try:
            (pattern or "").format(name="", parent="", case="")
        except (ValueError, LookupError, AttributeError) as error:
            raise ValueError(
                f"{pattern!r}: in braces may stand name, parent or case ({type(error).__name__}: {error})"
            ) from None
        return pattern

    @field_validator("case", "patient")
    @classmethod
    def _one_group(cls, pattern: str | None, field: ValidationInfo) -> str | None:
        try:
            groups = 1 if pattern in (None, PATIENT_ID) else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        if groups != 1:
            named = field.field_name
            raise ValueError(f"{pattern!r} has {groups} groups; put what names the {named}, and only that, in brackets")
        return pattern


class DataConfig(Section):
    datasets: tuple[DatasetConfig, ...] = Field(default=(), description="Datasets of this run [Table 1].")
    spacing_mm: float = Field(default=1.0, gt=0, description="Isotropic voxel spacing [4.1].")
    min_extent_mm: float = Field(
        default=64.0, ge=0, description="Shorter scans, along any axis, are refused [Choice: half a patch at 1 mm]."
    )
    allow_missing_slices: bool = Field(
        default=False,
        description="Whether a DICOM series is used without those of its slices that are cut off or do not fit to the "
        "others; otherwise it is quarantined [Choice].",
    )
    split_by: Literal["random", "publisher"] = Field(
        default="random",
        description="`random`: patients are drawn by the seed, from published datasets with exact shares [4.1], from "
        "others by a hash of each, so that new scans move no others; `publisher`: the split that a dataset comes with, "
        "where it has one. Mayo 2016 and RPLHR-CT always have that of the numbers beside them.",
    )
    split: tuple[Fraction, Fraction, Fraction] = Field(
        default=(0.90, 0.05, 0.05), description="Shares of train, val and test [4.1]."
    )
    downstream_split: tuple[Fraction, Fraction, Fraction] = Field(
        default=(0.80, 0.00, 0.20),
        description="The same for the datasets of the downstream tasks [4.1]; without a share for val, thresholds are "
        "chosen on the training cases, which the pretraining never saw [Choice].",
    )

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        for name in ("split", "downstream_split"):
            if abs(sum(shares := getattr(self, name)) - 1) > 1e-6:
                raise ValueError(f"{name} {shares} adds up to {sum(shares):g}; make it 1")
        names = [dataset.name for dataset in self.datasets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"datasets {', '.join(sorted(twice))} are listed twice; keep one")
        return self


class AnatomyConfig(Section):
    weights: Literal["official", "demo"] = Field(
        default="official", description="TotalSegmentator's own weights [4.1], or this project's small demo weights."
    )
    resolution: Literal["full", "fast", "fastest"] = Field(
        default="full", description="TotalSegmentator's model for 1.5, 3 or 6 mm; the demo weights are a 6 mm model."
    )
    body_threshold_hu: float = Field(default=-300.0, description="Threshold of the 118th class, the body [Choice].")
    demo_epochs: int = Field(
        default=150, ge=1, description="Training of the demo weights, 50 iterations an epoch [Choice]."
    )
    demo_phantoms: int = Field(default=2, ge=1, description="Phantoms of each kind in their training [Choice].")

    def check(self) -> None:
        if self.weights == "demo" and self.resolution != "fastest":
            raise ValueError(f"weights demo with resolution {self.resolution}: they are a 6 mm model; set fastest")


class RegionsConfig(Section):
    margin_mm: float = Field(default=20.0, ge=0, description="Space kept around lungs, liver and body [Choice].")
    max_cut: Fraction = Field(
        default=0.5,
        description="A region is dropped when its organ is cut off by the scan's end by more than this [Choice].",
    )
    min_organ_ml: float = Field(
        default=150.0, ge=0, description="Smallest lungs, liver or brain that define a region [Choice]."
    )


class Window(Section):
    level_hu: float = Field(description="Centre of the window.")
    width_hu: float = Field(gt=0, description="Width of the window.")

    @property
    def low_hu(self) -> float:
        return self.level_hu - self.width_hu / 2

    @property
    def high_hu(self) -> float:
        return self.level_hu + self.width_hu / 2


class WindowsConfig(Section):
    han: Window = Field(default=Window(level_hu=50, width_hu=400), description="Head and neck [4.1].")
    chest: Window = Field(default=Window(level_hu=-500, width_hu=1800), description="Chest [4.1].")
    abdomen: Window = Field(default=Window(level_hu=60, width_hu=360), description="Abdomen [4.1].")

    def for_region(self, region: Region) -> Window:
        return getattr(self, region.value)


class LowDoseConfig(Section):
    """Low-dose scans simulated from normal-dose ones, where no dataset has real ones."""

    scans: int = Field(default=20, ge=1, description="Regions of each split that are simulated [Choice].")
    dose: float = Field(default=0.25, gt=0, lt=1, description="Share of the full dose [Table 4: Mayo's quarter dose].")
    photons: float = Field(
        default=1e5,
        gt=0,
        description="Photons per ray at full dose, before the body "
        "[Choice: TIGRE's clinical value; an abdomen of 1 mm voxels gets the 23 dB of Table 4].",
    )
    electronic_noise: float = Field(
        default=10.0, ge=0, description="Standard deviation of the detector's noise, in photons [Choice: TIGRE's]."
    )
