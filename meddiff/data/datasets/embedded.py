"""The demo's real scans and the phantoms: what `meddiff fetch` and `meddiff phantoms` provide."""

from meddiff.config import Organ, Region
from meddiff.data.datasets.entry import Dataset

DEMO = (
    Dataset(
        "demo-chest",
        "Demo: chest",
        Region.CHEST,
        ("*/ct.nii.gz",),
        provider="demo",
        split_of="the demo",
        official_split={"cxr": "train"},
    ),
    Dataset(
        "demo-chest-cta",
        "Demo: chest CTA",
        Region.CHEST,
        ("*/ct.nii.gz",),
        provider="demo",
        split_of="the demo",
        official_split={"cta": "test"},
    ),
    Dataset(
        "demo-chest-thick",
        "Demo: chests, 5 mm",
        Region.CHEST,
        provider="demo",
        split_of="the demo",
        official_split={"lung-pet-ct": "train", "tcga": "train"},
    ),
    Dataset(
        "demo-abdomen",
        "Demo: abdomen",
        Region.ABDOMEN,
        ("*/ct.nii.gz",),
        provider="demo",
        split_of="the demo",
        official_split={"abdomen": "train"},
    ),
    Dataset(
        "demo-trunk",
        "Demo: trunks",
        Region.WHOLE_BODY,
        ("*/ct.nii.gz",),
        provider="demo",
        split_of="the demo",
        official_split={"s0015": "test", "s0024": "val", "s0028": "train", "s0029": "test"},
    ),
    Dataset(
        "demo-head",
        "Demo: head",
        Region.HAN,
        provider="demo",
        split_of="the demo",
        official_split={"visible-male": "train"},
    ),
    Dataset(
        "demo-head-contrast",
        "Demo: a child's head",
        Region.HAN,
        provider="demo",
        split_of="the demo",
        official_split={"child": "test"},
    ),
    Dataset(
        "demo-lung-lesions",
        "Demo: lung lesions",
        Region.CHEST,
        provider="demo",
        split_of="the demo",
        role="downstream",
        official_split={"ibsi-1": "train", "ibsi-2": "val", "ibsi-3": "test", "ibsi-4": "test"},
        lesion=("{name}",),  # contours in the scan's own folder
        lesion_organ=Organ.LUNG,
    ),
    Dataset(
        "demo-lung-tumours",
        "Demo: lung tumours",
        Region.CHEST,
        ("*/ct.nrrd",),
        provider="demo",
        role="downstream",
        split_of="the demo",
        official_split={"lung-1": "train", "lung-2": "train"},
        lesion=("{parent}/lesion.nrrd",),
        lesion_organ=Organ.LUNG,
    ),
)

_PHANTOM_SPLIT = {"body0": "train", "body1": "train", "body2": "test"}
PHANTOMS = (
    Dataset(
        "phantom-whole-body",
        "Phantom: whole bodies",
        Region.WHOLE_BODY,
        ("*/ct.nii.gz",),
        provider="phantom",
        split_of="the phantoms",
        official_split=_PHANTOM_SPLIT,
    ),
    Dataset(
        "phantom-chest",
        "Phantom: chests",
        Region.CHEST,
        ("*/ct.nii.gz",),
        provider="phantom",
        split_of="the phantoms",
        official_split=_PHANTOM_SPLIT,
    ),
    Dataset(
        "phantom-lesions",
        "Phantom: lung lesions",
        Region.CHEST,
        ("*/ct.nii.gz",),
        provider="phantom",
        split_of="the phantoms",
        role="downstream",
        official_split={"body0": "train", "body1": "val", "body2": "test"},
        lesion=("{parent}/lesion.nii.gz",),
        lesion_organ=Organ.LUNG,
    ),
)
