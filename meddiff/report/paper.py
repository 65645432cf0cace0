"""The numbers that the paper prints, to stand beside ours."""

from meddiff.config import Region

# Table 3: (region, method) -> MS-SSIM, LPIPS, FID, MMD, Dice. `average` FID is of pooled features, not a mean.
TABLE_3_METRICS = ("ms_ssim", "lpips", "fid", "mmd", "dice")
TABLE_3 = {
    (Region.HAN.value, "ddpm"): (0.7596, 0.0201, 0.2757, 0.0394, 0.80),
    (Region.HAN.value, "meddiff-fm"): (0.7821, 0.0132, 0.1269, 0.0265, 0.89),
    (Region.CHEST.value, "ddpm"): (0.7657, 0.0261, 0.2675, 0.0656, 0.73),
    (Region.CHEST.value, "meddiff-fm"): (0.7942, 0.0263, 0.1853, 0.0545, 0.75),
    (Region.ABDOMEN.value, "ddpm"): (0.6194, 0.0339, 0.2903, 0.0573, 0.86),
    (Region.ABDOMEN.value, "meddiff-fm"): (0.6412, 0.0238, 0.2775, 0.0459, 0.90),
    ("average", "ddpm"): (0.7168, 0.0265, 0.1430, 0.0541, 0.80),
    ("average", "meddiff-fm"): (0.7411, 0.0211, 0.1021, 0.0422, 0.84),
}
