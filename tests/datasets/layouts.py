"""Each published dataset as it lies on disk after unpacking, in a few tiny files, and the rows that it must give.

A tree is a list of paths; a path that ends in `/` is a folder with a DICOM series. `rows` are
case -> (image, split or None for a drawn one, lesion, low dose, thick).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tree:
    paths: tuple[str, ...]
    rows: dict[str, tuple[str | None, ...]]
    texts: dict[str, str] = field(default_factory=dict)


def row(
    image: str, split: str | None = None, lesion: str | None = None, low: str | None = None, thick: str | None = None
):
    return (image, split, lesion, low, thick)


_SEGRAP = "SegRap2023_Training_Set_120cases"
_STUDY = "03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-42966"
_MAYO = "Training_Image_Data/1mm B30"
_CT_RATE_COLUMNS = (
    "VolumeName,RescaleIntercept,RescaleSlope,XYSpacing,ZSpacing,ImageOrientationPatient,ImagePositionPatient"
)
_CT_RATE_ROW = '{},-1024,1,"[0.75, 0.75]",1.5,"[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]","[-180.0, -190.0, -300.0]"'


def _lymph(kind: str) -> Tree:
    scans = "manifest-1680277513580/CT Lymph Nodes"
    first, second = (f"{kind}_LYMPH_00{number}" for number in (1, 2))
    series = f"{scans}/{first}/09-14-2014-{kind}LYMPH001-nodes-92525/1.000000-nodes-52150/"
    other = f"{scans}/{second}/09-14-2014-{kind}LYMPH002-nodes-44556/1.000000-nodes-80540/"
    mask = f"MED_ABD_LYMPH_MASKS/{first}/{first}_mask.nii.gz"
    foreign = f"{scans}/{'ABD' if kind == 'MED' else 'MED'}_LYMPH_001/study/series/"
    return Tree(
        (series, other, foreign, mask, f"MED_ABD_LYMPH_ANNOTATIONS/{first}/{first}_lymphnodes_indices.txt"),
        {first.replace("_", "-"): row(series, lesion=mask), second.replace("_", "-"): row(other)},
    )


TREES = {
    "structseg": Tree(
        ("HaN_OAR/1/data.nii.gz", "HaN_OAR/1/label.nii.gz", "HaN_OAR/50/data.nii.gz", "HaN_OAR/50/label.nii.gz"),
        {"1": row("HaN_OAR/1/data.nii.gz"), "50": row("HaN_OAR/50/data.nii.gz")},
    ),
    "instance2022": Tree(
        (
            "train_2/data/001.nii.gz",
            "train_2/label/001.nii.gz",
            "evaluation/001.nii.gz",
            "__MACOSX/train_2/data/x.nii.gz",
        ),
        {"train-001": row("train_2/data/001.nii.gz"), "evaluation-001": row("evaluation/001.nii.gz")},
    ),
    "han-seg": Tree(
        tuple(
            f"HaN-Seg/set_1/case_01/case_01_{part}.nrrd"
            for part in ("IMG_CT", "IMG_MR_T1", "OAR_Brainstem.seg", "OAR_Parotid_L.seg")
        ),
        {"case-01": row("HaN-Seg/set_1/case_01/case_01_IMG_CT.nrrd")},
    ),
    "segrap2023": Tree(
        (
            *(f"{_SEGRAP}/segrap_0000/{name}.nii.gz" for name in ("image", "image_contrast", "Brain", "GTVp")),
            "SegRap2023_Validation_Set_20cases/head-neck-ct/segrap_0120.mha",
            "SegRap2023_Validation_Set_20cases/head-neck-contrast-enhanced-ct/segrap_0120.mha",
            "SegRap2023_Training_Set_120cases_OneHot_Labels/Task001/segrap_0000.nii.gz",
        ),
        {
            "segrap-0000": row(f"{_SEGRAP}/segrap_0000/image.nii.gz"),
            "segrap-0120": row("SegRap2023_Validation_Set_20cases/head-neck-ct/segrap_0120.mha"),
        },
    ),
    "segthor": Tree(
        ("train/Patient_01/Patient_01.nii.gz", "train/Patient_01/GT.nii.gz", "test/Patient_41.nii.gz"),
        {"Patient-01": row("train/Patient_01/Patient_01.nii.gz")},
    ),
    "ct-rate": Tree(
        (
            "dataset/train/train_1/train_1_a/train_1_a_1.nii.gz",
            "dataset/train_fixed/train_2/train_2_a/train_2_a_1.nii.gz",
            "dataset/train/train_2/train_2_a/train_2_a_1.nii.gz",
            "dataset/valid/valid_1/valid_1_a/valid_1_a_2.nii.gz",
        ),
        {
            "train-1-a-1": row("dataset/train/train_1/train_1_a/train_1_a_1.nii.gz", "train"),
            "train-2-a-1": row("dataset/train_fixed/train_2/train_2_a/train_2_a_1.nii.gz", "train"),
            "valid-1-a-2": row("dataset/valid/valid_1/valid_1_a/valid_1_a_2.nii.gz", "val"),
        },
        {
            "dataset/metadata/train_metadata.csv": "\n".join(
                [_CT_RATE_COLUMNS, *(_CT_RATE_ROW.format(f"train_{n}_a_1.nii.gz") for n in (1, 2)), ""]
            ),
            "dataset/metadata/validation_metadata.csv": _CT_RATE_COLUMNS + "\n",
        },
    ),
    "abdomenct-1k": Tree(
        (
            "AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz",
            "AbdomenCT-1K-ImagePart3/Case_01062_0000.nii.gz",
            "Mask/Case_00001.nii.gz",
        ),
        {
            "Case-00001": row("AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz"),
            "Case-01062": row("AbdomenCT-1K-ImagePart3/Case_01062_0000.nii.gz"),
        },
    ),
    "amos22": Tree(
        (
            "amos22/imagesTr/amos_0001.nii.gz",
            "amos22/labelsTr/amos_0001.nii.gz",
            "amos22/imagesTr/amos_0507.nii.gz",
            "amos22/imagesVa/amos_0008.nii.gz",
            "amos22/imagesTs/amos_0499.nii.gz",
            "amos22/imagesTs/amos_0600.nii.gz",
            "amos22/dataset.json",
            "__MACOSX/amos22/imagesTr/._amos_0001.nii.gz",
        ),
        {
            "amos-0001": row("amos22/imagesTr/amos_0001.nii.gz", "train"),
            "amos-0008": row("amos22/imagesVa/amos_0008.nii.gz", "val"),
            "amos-0499": row("amos22/imagesTs/amos_0499.nii.gz", "test"),
        },
    ),
    "btcv": Tree(
        (
            "RawData/Training/img/img0001.nii.gz",
            "RawData/Training/label/label0001.nii.gz",
            "RawData/Testing/img/img0061.nii.gz",
        ),
        {"img0001": row("RawData/Training/img/img0001.nii.gz")},
    ),
    "chaos": Tree(
        (
            "Train_Sets/CT/1/DICOM_anon/",
            "Train_Sets/CT/1/Ground/liver_GT_000.png",
            "Train_Sets/CT/22/DICOM_anon/",
            "Train_Sets/MR/1/T1DUAL/DICOM_anon/InPhase/",
            "Train_Sets/MR/1/T2SPIR/DICOM_anon/",
        ),
        {"1": row("Train_Sets/CT/1/DICOM_anon/"), "22": row("Train_Sets/CT/22/DICOM_anon/")},
    ),
    "word": Tree(
        (
            *(f"WORD-V0.1.0/{kind}Tr/word_0002.nii.gz" for kind in ("images", "labels")),
            *(f"WORD-V0.1.0/{kind}Val/word_0001.nii.gz" for kind in ("images", "labels")),
            "WORD-V0.1.0/imagesTs/word_0014.nii.gz",
        ),
        {
            "word-0002": row("WORD-V0.1.0/imagesTr/word_0002.nii.gz", "train"),
            "word-0001": row("WORD-V0.1.0/imagesVal/word_0001.nii.gz", "val"),
        },
    ),
    "totalsegmentator": Tree(
        (
            "s0000/ct.nii.gz",
            "s0000/segmentations/liver.nii.gz",
            "s0000/segmentations/spleen.nii.gz",
            "s1429/ct.nii.gz",
            "s1429/segmentations/liver.nii.gz",
        ),
        {"s0000": row("s0000/ct.nii.gz", "train"), "s1429": row("s1429/ct.nii.gz", "test")},
        {"meta.csv": "\ufeffimage_id;age;split\ns0000;60;train\ns1429;35;test\n"},
    ),
    "autopet": Tree(
        (
            *(f"FDG-PET-CT-Lesions/PETCT_0011f3deaf/{_STUDY}/{n}.nii.gz" for n in ("CT", "CTres", "PET", "SUV", "SEG")),
            *(f"FDG-PET-CT-Lesions/PETCT_0117d7f11f/{_STUDY}/{n}.nii.gz" for n in ("CTres", "SUV", "SEG")),
            f"FDG-PET-CT-Lesions/PETCT_01140d52d8/{_STUDY}/5.000000-GK p.v.3-85468/",
            f"FDG-PET-CT-Lesions/PETCT_01140d52d8/{_STUDY}/4.000000-PET corr.-01587/",
            f"FDG-PET-CT-Lesions/PETCT_01140d52d8/{_STUDY}/7.000000-Segmentation-22012/",
        ),
        {
            f"PETCT-{patient}-03-23-2003-NA-PET-CT-Ganzkoerper-primaer-mit-KM-42966": row(
                f"FDG-PET-CT-Lesions/PETCT_{patient}/{_STUDY}/{image}"
            )
            for patient, image in (
                ("0011f3deaf", "CT.nii.gz"),
                ("0117d7f11f", "CTres.nii.gz"),
                ("01140d52d8", "5.000000-GK p.v.3-85468/"),
            )
        },
    ),
    "mayo2016": Tree(
        (
            f"{_MAYO}/full_1mm/L067/full_1mm/",
            f"{_MAYO}/quarter_1mm/L067/quarter_1mm/",
            f"{_MAYO}/full_1mm/L506/full_1mm/",
        ),
        {
            "L067": row(f"{_MAYO}/full_1mm/L067/full_1mm/", "train", low=f"{_MAYO}/quarter_1mm/L067/quarter_1mm/"),
            "L506": row(f"{_MAYO}/full_1mm/L506/full_1mm/", "test"),
        },
    ),
    "msd-lung": Tree(
        (
            "Task06_Lung/imagesTr/lung_001.nii.gz",
            "Task06_Lung/imagesTr/._lung_001.nii.gz",
            "Task06_Lung/labelsTr/lung_001.nii.gz",
            "Task06_Lung/imagesTs/lung_002.nii.gz",
            "Task06_Lung/dataset.json",
        ),
        {"lung-001": row("Task06_Lung/imagesTr/lung_001.nii.gz", lesion="Task06_Lung/labelsTr/lung_001.nii.gz")},
    ),
    "msd-liver": Tree(
        (
            "Task03_Liver/imagesTr/liver_0.nii.gz",
            "Task03_Liver/labelsTr/liver_0.nii.gz",
            "Task03_Liver/imagesTs/liver_132.nii.gz",
        ),
        {"liver-0": row("Task03_Liver/imagesTr/liver_0.nii.gz", lesion="Task03_Liver/labelsTr/liver_0.nii.gz")},
    ),
    "rplhr-ct": Tree(
        tuple(f"{split}/{mm}/CT00000001.nii.gz" for split in ("train", "val", "test") for mm in ("1mm", "5mm")),
        {
            f"{split}-CT00000001": row(f"{split}/1mm/CT00000001.nii.gz", split, thick=f"{split}/5mm/CT00000001.nii.gz")
            for split in ("train", "val", "test")
        },
    ),
    "med-ln": _lymph("MED"),
    "abd-ln": _lymph("ABD"),
}
