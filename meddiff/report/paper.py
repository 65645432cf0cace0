"""The numbers that the paper and its third version print, to stand beside ours."""

from meddiff.config import SUPERVISED, Region

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

# Table 4: method -> SSIM, PSNR in dB. The paper took RED-CNN, MAP-NN and BM3D from Noise2Sim.
TABLE_4_METRICS = ("ssim", "psnr")
TABLE_4 = {
    "ldct": (0.8434, 23.44),
    "red-cnn": (0.9030, 28.58),
    "map-nn": (0.9013, 28.28),
    "bm3d": (0.8830, 27.28),
    "noise2sim": (0.9045, 28.38),
    "meddiff-fm-reverse": (0.9123, 28.10),
}

# Table 5: (dataset, method) -> AUC, SPE, SEN, ACC over the voxels of the cropped scan; the number is t.
TABLE_5_METRICS = ("auc", "spe", "sen", "acc")
TABLE_5 = {
    ("msd-lung", "meddiff-fm (900)"): (0.9785, 0.9909, 0.5665, 0.9906),
    ("msd-lung", "meddiff-fm (950)"): (0.9816, 0.9778, 0.7208, 0.9776),
    ("msd-lung", SUPERVISED): (0.9876, 0.9996, 0.7856, 0.9995),
    ("msd-liver", "meddiff-fm (800)"): (0.9924, 0.9954, 0.5141, 0.9945),
    ("msd-liver", "meddiff-fm (900)"): (0.9937, 0.9956, 0.6229, 0.9948),
    ("msd-liver", SUPERVISED): (0.9988, 0.9996, 0.7964, 0.9993),
}

# Table 6: (dataset, method) -> generation's MS-SSIM, LPIPS, FID, MMD and Dice, and the Dice of inpainting.
TABLE_6_METRICS = ("ms_ssim", "lpips", "fid", "mmd", "dice", "inpainting_dice")
_NONE = (float("nan"),) * 4
TABLE_6 = {
    ("msd-lung", "real"): (*_NONE, 0.74, 0.74),
    ("msd-lung", "scratch"): (0.6606, 0.0135, 0.2059, 0.1018, 0.16, 0.42),
    ("msd-lung", "fine-tune"): (0.6731, 0.0136, 0.2332, 0.0998, 0.28, 0.77),
    ("msd-liver", "real"): (*_NONE, 0.71, 0.71),
    ("msd-liver", "scratch"): (0.5991, 0.0151, 0.1304, 0.0679, 0.40, 0.71),
    ("msd-liver", "fine-tune"): (0.6121, 0.0138, 0.1690, 0.0727, 0.48, 0.71),
    ("med-ln", "real"): (*_NONE, 0.28, 0.28),
    ("med-ln", "scratch"): (0.7946, 0.0059, 0.3057, 0.0538, 0.01, 0.30),
    ("med-ln", "fine-tune"): (0.7982, 0.0074, 0.1195, 0.0183, 0.22, 0.34),
    ("abd-ln", "real"): (*_NONE, 0.51, 0.51),
    ("abd-ln", "scratch"): (0.5267, 0.0304, 0.1765, 0.0570, 0.32, 0.51),
    ("abd-ln", "fine-tune"): (0.5802, 0.0211, 0.2425, 0.0594, 0.50, 0.53),
}

# v3, Table III: (region, method) -> FID, Dice; by region v3 gives the Dice of the first and the last row alone.
TABLE_3_V3_METRICS = ("fid", "dice")
_NO_FID = float("nan")
TABLE_3_V3 = {
    ("average", "ddpm"): (0.1096, 0.6466),
    ("average", "multi-level"): (0.0819, 0.7844),
    ("average", "coordinates"): (0.0667, 0.8141),
    ("average", "meddiff-fm"): (0.0655, 0.8183),
    (Region.HAN.value, "ddpm"): (_NO_FID, 0.7491),
    (Region.HAN.value, "meddiff-fm"): (_NO_FID, 0.8949),
    (Region.CHEST.value, "ddpm"): (_NO_FID, 0.4909),
    (Region.CHEST.value, "meddiff-fm"): (_NO_FID, 0.7076),
    (Region.ABDOMEN.value, "ddpm"): (_NO_FID, 0.6998),
    (Region.ABDOMEN.value, "meddiff-fm"): (_NO_FID, 0.8524),
}

# Liver CT of BMAD (Bao et al.): method -> image AUROC, pixel AUROC, PRO; the first row is v3's.
BMAD_METRICS = ("image_auroc", "pixel_auroc", "pro")
_NO_MAP = (float("nan"),) * 2
BMAD_LIVER = {
    "meddiff-fm": (0.8525, *_NO_MAP),
    "draem": (0.6995, 0.8745, 0.7929),
    "utrad": (0.5581, 0.8788, 0.7112),
    "simplenet": (0.7228, 0.9751, 0.9107),
    "mkd": (0.6072, 0.9606, 0.9108),
    "rd4ad": (0.6038, 0.9601, 0.9029),
    "stfpm": (0.6175, 0.9118, 0.9062),
    "padim": (0.5078, 0.9094, 0.7679),
    "patchcore": (0.6028, 0.9643, 0.8775),
    "cfa": (0.6200, 0.9724, 0.9275),
    "cflow": (0.5080, 0.9241, 0.8311),
    "f-anogan": (0.5853, *_NO_MAP),
    "ganomaly": (0.5460, *_NO_MAP),
    "deepsvdd": (0.5396, *_NO_MAP),
    "cutpaste": (0.5933, *_NO_MAP),
    "cs-flow": (0.5937, *_NO_MAP),
}
