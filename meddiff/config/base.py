"""What all parts of the configuration are made of."""

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Region(StrEnum):
    """Anatomical regions (section 3.2); a whole-body scan is split into the other three."""

    HAN = "han"
    CHEST = "chest"
    ABDOMEN = "abdomen"
    WHOLE_BODY = "whole_body"


MODEL_REGIONS = (Region.HAN, Region.CHEST, Region.ABDOMEN)
LARGEST_SEED = 2**63 - 1  # those of torch's generators are whole numbers of 64 bits
Fraction = Annotated[float, Field(ge=0, le=1)]


class Organ(StrEnum):
    """Organs in which anomalies are looked for (section 4.3)."""

    LUNG = "lung"
    LIVER = "liver"


REGION_OF = {Organ.LUNG: Region.CHEST, Organ.LIVER: Region.ABDOMEN}


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _checked(self) -> "Section":
        self.check()
        return self

    def check(self) -> None:
        """Raise ValueError where values contradict each other."""


AnySection = TypeVar("AnySection", bound=Section)
