"""What a model does with one scan, from Python; the verbs of the command line are a thin layer over it.

>>> from meddiff import MedDiffFM
>>> model = MedDiffFM.from_pretrained("model")
>>> clean = model.denoise("ct.nii.gz", region="chest", anatomy="anatomy.nii.gz")
>>> clean.GetSize()
(32, 32, 16)
"""

from meddiff.api.arguments import DrawnLesion
from meddiff.api.images import Given, Image, Source, Voxels
from meddiff.api.model import MedDiffFM
from meddiff.config import Config, Organ, Region
from meddiff.errors import CaseError, UserError

__all__ = [
    "CaseError",
    "Config",
    "DrawnLesion",
    "Given",
    "Image",
    "MedDiffFM",
    "Organ",
    "Region",
    "Source",
    "UserError",
    "Voxels",
]
