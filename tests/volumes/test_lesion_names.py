"""Names of regions: the lesion itself, or what only has its word."""

import pytest

from meddiff.errors import CaseError
from meddiff.volumes.lesion_names import lesions_among, means_lesion

MEANT = """GTV, GTVp, GTVn, GTV1, GTV-1, GTVp1, GTVn2, GTVp_CT1, gtv, GTV_T50, GTV-2, GTVs, IGTV, iGTV1, Tumor, Tumour,
Tumors, Lesion, lesion_2, Lesion1, LiverLesion, Nodule, nodule_3, LungTumor, 1-GTV, Left-Lesion, GTVp_5040, GTV_boost,
Liver lesion 2, Nodule 1 - Reader 2, Primary tumor, Nodule 8 mm, LUL nodule, GTV 60Gy, Tumour #1"""
OTHERS = """Lungs-GTV, Lung_L-GTV, Brain-GTVs, Lungs\u2212GTV,
 GTV_ring, GTV_ring_20mm, NonTumorTissue, PreviousLesionBed,
TumorBed, Lungs_minus_GTV, LungsExGTV, PTV-GTV, PTV_GTV, CTV_Tumor, peritumoral, GTVexp, GTV+5mm, GTV+5, GTV_10mm,
old_lesion, Liver-Tumor, Bladder, zGTVopt, xGTV, Heart, Lung_R, GTVsb, Lesional_dose, Lungs minus GTV, Tumor bed,
non-tumor, Lung without tumour, Healthy tissue near tumor, normal lung no nodule"""


@pytest.mark.parametrize("name", MEANT.replace("\n", " ").split(", "))
def test_a_lesion_by_another_name_is_a_lesion(name):
    assert means_lesion(name)


@pytest.mark.parametrize("name", OTHERS.replace("\n", " ").split(", "))
def test_what_only_has_a_lesions_word_is_none(name):
    assert not means_lesion(name)


def test_the_lesion_is_chosen_and_its_like_are_named():
    names = ["Heart", "Lungs-GTV", "GTVp", "IGTV", "GTVn", "GTV_ring", "GTVp"]
    assert lesions_among(names) == (["GTVp", "GTVn"], ["Lungs-GTV", "IGTV", "GTV_ring"])
    assert lesions_among(["IGTV", "Brain"]) == (["IGTV"], [])


def test_where_no_name_is_clear_the_doubtful_ones_are_named():
    with pytest.raises(CaseError, match="no region is clearly a lesion: Lungs-GTV, TumorBed; call the one"):
        lesions_among(["Heart", "Lungs-GTV", "TumorBed"])
    with pytest.raises(CaseError, match="no region or segment is called a lesion"):
        lesions_among(["Heart"])
