"""The datasets of Table 1, for pretraining: layout, count, licence and how to get each; all that are published.

The sha256 of archives are those that public loaders of the same files record (torch-em), the md5 are Zenodo's and
MONAI's.
"""

from meddiff.config import Region
from meddiff.datasets.downstream import DOWNSTREAM
from meddiff.datasets.entry import Dataset, HeaderTable, Remote, SplitTable

_ZENODO = "https://zenodo.org/records"
_TRAIN_VAL = {"imagesTr/*": "train", "imagesVa*/*": "val", "imagesTs/*": "test"}

HEAD_AND_NECK = (
    Dataset(
        "structseg",
        "StructSeg",
        Region.HAN,
        ("HaN_OAR/*/data.nii.gz", "HaN_OAR/*/data.nii"),
        50,
        case=r"HaN_OAR/([^/]+)/",
        licence="agreement of the challenge, no redistribution",
        page="https://structseg2019.grand-challenge.org/Download/",
        steps="Join the challenge, get Task1_HaN_OAR.zip and unpack it into the root.",
    ),
    Dataset(
        "instance2022",
        "INSTANCE2022",
        Region.HAN,
        ("train*/data/*.nii.gz", "evaluation/*.nii.gz", "evaluation/data/*.nii.gz"),
        130,
        case=r"(train|evaluation)\w*/(?:data/)?(.+)\.nii\.gz",
        licence="CC BY-NC-ND, signed agreement",
        page="https://instance.grand-challenge.org/Dataset/",
        steps="Join the challenge, send the signed agreement, unpack train_2.zip and the evaluation set into the root.",
    ),
    Dataset(
        "han-seg",
        "HaN-Seg",
        Region.HAN,
        ("set_1/case_*/case_*_IMG_CT.nrrd",),
        42,
        case=r"(case_\d+)/",
        licence="CC BY-NC-ND 4.0",
        page=f"{_ZENODO}/7442914",
        files=(
            Remote(
                f"{_ZENODO}/7442914/files/HaN-Seg.zip",
                "sha256:20226dd717f334dc1b1afe961b3375f946fa56b64a80bf5349128f90c0bbfa5f",
            ),
        ),
    ),
    Dataset(
        "segrap2023",
        "SegRap2023",
        Region.HAN,
        # Choice: of the two scans of a patient the plain one; the paper counts patients
        ("segrap_*/image.nii.gz", "head-neck-ct/segrap_*.mha"),
        140,
        case=r"(segrap_\d+)",
        licence="agreement of the challenge, non-commercial",
        page="https://segrap2023.grand-challenge.org/dataset/",
        steps="Join the challenge, send the agreement, unpack the 120 training and 20 validation cases into the root.",
    ),
)

CHEST = (
    Dataset(
        "segthor",
        "SegTHOR",
        Region.CHEST,
        ("Patient_*/Patient_*.nii.gz",),
        40,
        licence="agreement of the challenge",
        page="https://competitions.codalab.org/competitions/21145",
        steps=f"Register and unpack train.zip into the root; or take the copy at {_ZENODO}/16663661 (CC BY 4.0).",
    ),
    Dataset(
        "ct-rate",
        "CT-RATE",
        Region.CHEST,
        # The folders *_fixed hold HU and true geometry; the original ones need the table of metadata for both.
        tuple(f"{folder}/*/*/*.nii.gz" for folder in ("train_fixed", "valid_fixed", "train", "valid")),
        1000,
        cases_published=50188,
        patient=r"((?:train|valid)_\d+)_[a-z]+_\d+\.nii",  # of scan a, b, ... reconstruction 1, 2, ...
        split_globs={"train*/*": "train", "valid*/*": "val"},
        split_sizes=(47_149, 3_039, 0),
        header_table=HeaderTable("metadata/*_metadata.csv", ("train/*", "valid/*")),
        licence="CC BY-NC-SA 4.0",
        page="https://huggingface.co/datasets/ibrahimhamamci/CT-RATE",
        steps="Accept the terms, then `hf download` volumes and dataset/metadata. In all they are 50,188, the paper "
        "used 1,000: fetch as many, or name part of it in `image`.",
    ),
)

ABDOMEN = (
    Dataset(
        "abdomenct-1k",
        "AbdomenCT-1K",
        Region.ABDOMEN,
        ("Case_*_0000.nii.gz",),
        1062,
        case=r"(Case_\d+)_0000",
        shares_scans_with={"msd-liver": 131},  # both hold the training scans of LiTS
        licence="of its sources (LiTS, KiTS19, MSD, NIH), see the page",
        page="https://github.com/JunMa11/AbdomenCT-1K",
        files=(
            Remote(
                f"{_ZENODO}/5903099/files/AbdomenCT-1K-ImagePart1.zip",
                "sha256:3d0d8edd2a8777f8807c6715f633e2fea104f16a8514572664021ed88f97cd03",
            ),
            Remote(
                f"{_ZENODO}/5903846/files/AbdomenCT-1K-ImagePart2.zip",
                "sha256:3178bd3021dfed0440c4dc269b7f3125b27b60aec96e81b210d7c4c55d0fe894",
            ),
            Remote(
                f"{_ZENODO}/5903769/files/AbdomenCT-1K-ImagePart3.zip",
                "sha256:76bf789589a13ca1aef9b9c8b771f05c165e6d2013284bbfdb4c4656d4931c30",
            ),
        ),
    ),
    Dataset(
        "amos22",
        "AMOS22",
        Region.ABDOMEN,
        ("images*/amos_*.nii.gz",),
        500,
        exclude=("amos_0[5-9]??.nii.gz",),  # MR
        split_globs=_TRAIN_VAL,
        split_sizes=(200, 100, 200),
        licence="CC BY 4.0",
        page=f"{_ZENODO}/7155725",
        files=(
            Remote(
                f"{_ZENODO}/7155725/files/amos22.zip",
                "sha256:d2fbf2c31abba9824d183f05741ce187b17905b8cca64d1078eabf1ba96775c2",
            ),
        ),
    ),
    Dataset(
        "btcv",
        "BTCV",
        Region.ABDOMEN,
        ("RawData/Training/img/img*.nii.gz",),
        30,
        licence="terms of Synapse",
        page="https://www.synapse.org/Synapse:syn3193805",
        steps="Join the challenge on Synapse and unpack RawData.zip (Abdomen) into the root.",
    ),
    Dataset(
        "chaos",
        "CHAOS",
        Region.ABDOMEN,
        ("Train_Sets/CT/*/DICOM_anon",),
        20,
        case=r"CT/([^/]+)/",
        licence="CC BY-NC-SA 4.0",
        page=f"{_ZENODO}/3431873",
        files=(
            Remote(
                f"{_ZENODO}/3431873/files/CHAOS_Train_Sets.zip",
                "sha256:535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
                890_771_694,
            ),
        ),
    ),
    Dataset(
        "word",
        "WORD",
        Region.ABDOMEN,
        ("imagesTr/word_*.nii.gz", "imagesVal/word_*.nii.gz"),  # Choice: 100 + 20; with the 30 of imagesTs it were 150
        120,
        split_globs=_TRAIN_VAL,
        split_sizes=(100, 20, 0),
        licence="research only, see the page",
        page="https://github.com/HiLab-git/WORD",
        steps="Get WORD-V0.1.0.zip from the page; it needs the password that stands there. Unpack it into the root.",
    ),
)

WHOLE_BODY = (
    Dataset(
        "totalsegmentator",
        "TotalSegmentator",
        Region.WHOLE_BODY,
        ("s[0-9]*/ct.nii.gz",),  # beside it segmentations/, one mask per class
        1228,
        split_table=SplitTable("meta.csv", "image_id", "split", ";"),
        split_sizes=(1082, 57, 89),
        licence="CC BY 4.0",
        page=f"{_ZENODO}/10047292",
        files=(
            Remote(
                f"{_ZENODO}/10047292/files/Totalsegmentator_dataset_v201.zip",
                "sha256:741dbc911a768e2ac2671c66d55332f7302ad624c915a57d08b142d8bdf0ca26",
                23_581_218_285,
            ),
        ),
    ),
    Dataset(
        "autopet",
        "AutoPET",
        Region.WHOLE_BODY,
        # The CT itself, the CT on the grid of the PET, or the series as DICOM.
        ("PETCT_*/*/CT.nii.gz", "PETCT_*/*/CTres.nii.gz", "PETCT_*/*/*/"),
        1014,
        exclude=("*PET corr*", "*PET-corr*", "*Segmentation*"),
        case=r"(PETCT_\w+)/([^/]+)/",  # patient and study
        patient=r"(PETCT_\w+)/",
        licence="terms of TCIA, see the page",
        page="https://www.cancerimagingarchive.net/collection/fdg-pet-ct-lesions/",
        steps="Get FDG-PET-CT-Lesions, as NIfTI or as DICOM with the NBIA Data Retriever, into the root.",
    ),
)

PUBLISHED = (*HEAD_AND_NECK, *CHEST, *ABDOMEN, *WHOLE_BODY, *DOWNSTREAM)
