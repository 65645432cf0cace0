"""The datasets of Table 2, on which the tasks are fine-tuned and tested, and RPLHR-CT."""

from meddiff.config import Organ, Region
from meddiff.datasets.entry import LUNG_LESION_HU, Dataset, Remote

_ZENODO = "https://zenodo.org/records"
_MSD = "https://msd-for-monai.s3-us-west-2.amazonaws.com"

DOWNSTREAM = (
    Dataset(
        "mayo2016",
        "Mayo 2016",
        Region.WHOLE_BODY,  # lung bases to pelvis: each scan is cut into the regions that it shows
        ("L[0-9][0-9][0-9]/full_1mm",),
        10,
        role="downstream",
        case=r"(L\d{3})/",
        split_of="Noise2Sim",  # beside whose numbers Table 4 stands; one of its eight for validation
        split_sizes=(7, 1, 2),
        official_split={"L506": "test", "L333": "test"}
        | dict.fromkeys(("L067", "L096", "L109", "L143", "L192", "L286", "L291"), "train")
        | {"L310": "val"},
        low_dose=(
            "{parent}/quarter_1mm",
            "../quarter_1mm/{case}/quarter_1mm",
            "../QD_1mm/{case}/quarter_1mm",
        ),
        licence="data use agreement of the AAPM",
        page="https://www.aapm.org/GrandChallenge/LowDoseCT/",
        steps="Sign the agreement, get the full- and quarter-dose images of 1 mm (B30) and unpack both into the root.",
    ),
    Dataset(
        "msd-lung",
        "MSD-Lung",
        Region.CHEST,
        ("imagesTr/lung_*.nii.gz",),
        63,
        role="downstream",
        lesion=("labelsTr/{name}",),
        lesion_hu=LUNG_LESION_HU,
        lesion_organ=Organ.LUNG,
        licence="CC BY-SA 4.0",
        page="http://medicaldecathlon.com/",
        files=(Remote(f"{_MSD}/Task06_Lung.tar", "md5:8afd997733c7fc0432f71255ba4e52dc", 9_163_696_640),),
    ),
    Dataset(
        "msd-liver",
        "MSD-Liver",
        Region.ABDOMEN,
        ("imagesTr/liver_*.nii.gz",),
        131,
        role="downstream",
        lesion=("labelsTr/{name}",),
        lesion_values=(2,),  # 1 is the liver
        lesion_hu=(-50, 300),  # from cysts to lesions with contrast agent in them
        lesion_organ=Organ.LIVER,
        licence="CC BY-SA 4.0",
        page="http://medicaldecathlon.com/",
        files=(Remote(f"{_MSD}/Task03_Liver.tar", "md5:a90ec6c4aa7f6a3d087205e23d4e6397", 28_925_891_584),),
    ),
    Dataset(
        "rplhr-ct",
        "RPLHR-CT",
        Region.CHEST,
        ("train/1mm/*.nii.gz", "val/1mm/*.nii.gz", "test/1mm/*.nii.gz"),
        cases_published=250,
        role="downstream",
        case=r"(train|val|test)/1mm/(.+)\.nii\.gz",
        split_of="the publisher",  # on which super-resolution is published
        split_sizes=(100, 50, 100),
        split_globs={f"{split}/*": split for split in ("train", "val", "test")},
        thick=("{parent}/../5mm/{name}",),
        licence="see the page",
        page=f"{_ZENODO}/17239183",
        steps="Unpack the archives of the record into the root.",
    ),
    *(
        Dataset(
            f"{name}-ln",
            f"{name.upper()}-LN",
            region,
            (f"{name.upper()}_LYMPH_*/*/*/",),
            cases,
            role="downstream",
            case=r"(\w+_LYMPH_\d+)/",
            lesion=tuple(
                f"{up}MED_ABD_LYMPH_MASKS/{nested}{{case}}/{{case}}_mask.nii.gz"
                for up in ("../", "../../", "")
                for nested in ("", "MED_ABD_LYMPH_MASKS/")
            ),
            lesion_values=(),  # every node has a label of its own
            lesion_on_scan_grid=True,
            lesion_hu=(-50, 200),
            licence="CC BY 3.0",
            page="https://www.cancerimagingarchive.net/collection/ct-lymph-nodes/",
            steps="Get the series with the NBIA Data Retriever, and MED_ABD_LYMPH_MASKS.zip from the page, both into "
            "the root. MED-LN and ABD-LN are one collection: one root serves both.",
        )
        for name, region, cases in (("med", Region.CHEST, 90), ("abd", Region.ABDOMEN, 86))
    ),
)
