"""The registry: every dataset of Tables 1 and 2, the demo's and the phantoms.

An entry says what the scans show, how many cases the paper used, how the publisher lays the files out
and where to get them. A configuration names datasets and their root folders; a dataset of one's own is
an entry in the configuration alone.
"""

from dataclasses import dataclass, field
from pathlib import Path

from meddiff.config import DatasetConfig, Organ, Region
from meddiff.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    `image` is a glob below the root that gives one file, or one folder with a DICOM series, per case; `exclude`
    globs are taken out of it. `official_split` maps case names to a split that wins over the drawn one.
    `lesion`, `low_dose` and `thick` say where a case's lesion labels, its scan at low dose and that with thick slices
    lie: paths below the root with `{name}` and `{parent}` of the image in them. `lesion_values` are the labels that
    are lesions, `lesion_organ` is where they lie, if it is one of those in which anomalies are looked for.
    `provider` is who makes the files: the user's disk, the demo's packages or the phantom generator.
    """

    name: str
    title: str
    region: Region
    image: str = "*"
    cases_paper: int | None = None
    role: str = "pretraining"
    provider: str = "disk"
    exclude: tuple[str, ...] = ()
    official_split: dict[str, str] = field(default_factory=dict)
    lesion: str = ""
    lesion_values: tuple[int, ...] = (1,)
    lesion_organ: Organ | None = None
    low_dose: str = ""
    thick: str = ""
    root: Path | None = None


_HAN, _CHEST, _ABDOMEN, _WHOLE = Region.HAN, Region.CHEST, Region.ABDOMEN, Region.WHOLE_BODY

_PAPER = (
    Dataset("structseg", "StructSeg", _HAN, "HaN_OAR/*/data.nii.gz", 50),
    Dataset("instance2022", "INSTANCE2022", _HAN, "train_2/data/*.nii.gz", 130),
    Dataset("han-seg", "HaN-Seg", _HAN, "set_1/case_*/case_*_IMG_CT.nrrd", 42),
    Dataset("segrap2023", "SegRap2023", _HAN, "*/image.nii.gz", 140),
    Dataset("segthor", "SegTHOR", _CHEST, "train/Patient_*/Patient_*.nii.gz", 40),
    Dataset("ct-rate", "CT-RATE", _CHEST, "**/*.nii.gz", 1000),
    Dataset("abdomenct-1k", "AbdomenCT-1K", _ABDOMEN, "**/Case_*_0000.nii.gz", 1062),
    Dataset("amos22", "AMOS22", _ABDOMEN, "images*/amos_0[0-4]??.nii.gz", 500),
    Dataset("btcv", "BTCV", _ABDOMEN, "RawData/Training/img/img*.nii.gz", 30),
    Dataset("chaos", "CHAOS", _ABDOMEN, "Train_Sets/CT/*/DICOM_anon", 20),
    Dataset("word", "WORD", _ABDOMEN, "images*/word_*.nii.gz", 120),
    Dataset("totalsegmentator", "TotalSegmentator", _WHOLE, "s*/ct.nii.gz", 1228),
    Dataset("autopet", "AutoPET", _WHOLE, "*/*/CT.nii.gz", 1014),
    Dataset(
        "mayo2016",
        "Mayo 2016",
        _ABDOMEN,
        "*/full_1mm",
        10,
        role="downstream",
        official_split={"L506": "test", "L333": "test"}  # Noise2Sim's split; one of its eight for validation
        | dict.fromkeys(("L067", "L096", "L109", "L143", "L192", "L286", "L291"), "train")
        | {"L310": "val"},
        low_dose="{parent}/quarter_1mm",
    ),
    Dataset(
        "msd-lung",
        "MSD-Lung",
        _CHEST,
        "imagesTr/lung_*.nii.gz",
        63,
        role="downstream",
        lesion="labelsTr/{name}",
        lesion_organ=Organ.LUNG,
    ),
    Dataset(
        "msd-liver",
        "MSD-Liver",
        _ABDOMEN,
        "imagesTr/liver_*.nii.gz",
        131,
        role="downstream",
        lesion="labelsTr/{name}",
        lesion_values=(2,),
        lesion_organ=Organ.LIVER,
    ),
    Dataset(
        "rplhr-ct",
        "RPLHR-CT",
        _CHEST,
        "*/1mm/*.nii.gz",
        role="downstream",
        thick="{parent}/../5mm/{name}",
    ),
    Dataset("med-ln", "MED-LN", _CHEST, "*/MED_LYMPH_*", 90, role="downstream"),
    Dataset("abd-ln", "ABD-LN", _ABDOMEN, "*/ABD_LYMPH_*", 86, role="downstream"),
)

_DEMO = (
    Dataset("demo-chest", "Demo: chest", _CHEST, "*/ct.nii.gz", provider="demo", official_split={"cxr": "train"}),
    Dataset(
        "demo-chest-cta", "Demo: chest CTA", _CHEST, "*/ct.nii.gz", provider="demo", official_split={"cta": "test"}
    ),
    Dataset(
        "demo-abdomen", "Demo: abdomen", _ABDOMEN, "*/ct.nii.gz", provider="demo", official_split={"abdomen": "train"}
    ),
    Dataset(
        "demo-trunk",
        "Demo: trunks",
        _WHOLE,
        "*/ct.nii.gz",
        provider="demo",
        official_split={"s0015": "test", "s0024": "val", "s0028": "train", "s0029": "test"},
    ),
    Dataset("demo-head", "Demo: head", _HAN, "*", provider="demo", official_split={"visible-male": "train"}),
    Dataset(
        "demo-lung-lesions",
        "Demo: lung lesions",
        _CHEST,
        "*",
        provider="demo",
        role="downstream",
        official_split={"ibsi-1": "train", "ibsi-2": "val", "ibsi-3": "test", "ibsi-4": "test"},
        lesion="{name}",  # contours in the scan's own folder
        lesion_organ=Organ.LUNG,
    ),
)

_PHANTOM_SPLIT = {"body0": "train", "body1": "train", "body2": "test"}
_PHANTOMS = (
    Dataset(
        "phantom-whole-body",
        "Phantom: whole bodies",
        _WHOLE,
        "*/ct.nii.gz",
        provider="phantom",
        official_split=_PHANTOM_SPLIT,
    ),
    Dataset(
        "phantom-chest", "Phantom: chests", _CHEST, "*/ct.nii.gz", provider="phantom", official_split=_PHANTOM_SPLIT
    ),
    Dataset(
        "phantom-lesions",
        "Phantom: lung lesions",
        _CHEST,
        "*/ct.nii.gz",
        provider="phantom",
        role="downstream",
        official_split={"body0": "train", "body1": "val", "body2": "test"},
        lesion="{parent}/lesion.nii.gz",
        lesion_organ=Organ.LUNG,
    ),
)

REGISTRY = {dataset.name: dataset for dataset in (*_PAPER, *_DEMO, *_PHANTOMS)}
PROVIDER_FILE = "SOURCE.json"  # written last by whoever provides the data, so never a case


def resolve(config: DatasetConfig, raw_dir: Path) -> Dataset:
    """Return the registry's entry with the configuration's values on top.

    Raises:
        UserError: an unknown dataset without region, or one without a root.
    """
    known = REGISTRY.get(config.name)
    if known is None and (config.region is None or config.root is None):
        raise UserError(
            f"data.datasets: {config.name!r} is not in the registry; give its root and region, "
            f"or use one of {', '.join(REGISTRY)}"
        )
    if known is not None and known.provider == "disk" and config.root is None:
        raise UserError(f"data.datasets: {config.name!r} needs a root, the folder with its files")
    base = known or Dataset(config.name, config.name, config.region or Region.WHOLE_BODY)
    return Dataset(
        **{
            **base.__dict__,
            "region": config.region or base.region,
            "image": config.image or base.image,
            "root": config.root or raw_dir / config.name,
        }
    )
