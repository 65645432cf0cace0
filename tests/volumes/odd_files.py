"""Odd but legal volume files, each with the truth: where its voxels lie, what they are, whether it may be refused.

Every draw is that of its seed. `differential` compares what readers make of them.
"""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

NUMBERS = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
NRRD_TYPES = dict(
    zip(
        NUMBERS,
        ("uchar", "int8", "short", "uint16", "int", "uint32", "longlong", "uint64", "float", "double"),
        strict=True,
    )
)
META_TYPES = dict(
    zip(
        NUMBERS,
        ("UCHAR", "CHAR", "SHORT", "USHORT", "INT", "UINT", "LONG_LONG", "ULONG_LONG", "FLOAT", "DOUBLE"),
        strict=True,
    )
)
SPACES = {
    "left-posterior-superior": (1, 1, 1), "LPS": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "LAS": (1, -1, 1), "scanner-xyz": None, "3D-right-handed": None,
}  # fmt: skip


@dataclass
class Odd:
    """A file and the truth: voxel (i, j, k) of `values_xyz` lies at `affine_lps @ (i, j, k, 1)`."""

    path: Path
    values_xyz: np.ndarray
    affine_lps: np.ndarray
    why_not: set[str] = field(default_factory=set)  # what it may, and must, be refused for
    one_geometry: bool = True  # whether every reader must see the voxels there


def draw(seed: int, folder: Path) -> Odd:
    rng = np.random.default_rng(seed)
    return rng.choice([nifti, nifti, nifti, nrrd, meta])(rng, folder)


def stored_values(rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    shape = tuple(int(n) for n in rng.integers(1, 7, 3))
    if dtype.kind == "f":
        return np.round(rng.normal(-400, 500, shape), 2).astype(dtype)
    low, high = max(np.iinfo(dtype).min, -1100), min(np.iinfo(dtype).max, 3100)
    return rng.integers(low, high + 1, shape).astype(dtype)


def draw_axes(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return three axes in mm, as columns, and what is the matter with them."""
    sides = np.round(rng.uniform(0.3, 6, 3), int(rng.integers(1, 5)))
    kind = str(
        rng.choice(["plain", "turned", "oblique", "sheared", "nearly", "flat"], p=[0.3, 0.2, 0.2, 0.15, 0.1, 0.05])
    )
    turn = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    if kind == "plain":
        turn = np.diag(rng.choice([-1, 1], 3))
    elif kind == "oblique":
        turn = turn @ Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix()
    axes = turn * sides
    if kind in ("sheared", "nearly"):
        axes[:, 2] += turn[:, rng.integers(2)] * sides[2] * (rng.uniform(-0.6, 0.6) if kind == "sheared" else 1e-4)
    if kind == "flat":
        axes[:, 2] = axes[:, 1]
    return axes, kind


def draw_affine(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    axes, kind = draw_axes(rng)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, np.round(rng.normal(0, 200, 3), 2)
    return affine, kind


def nifti(rng: np.random.Generator, folder: Path) -> Odd:
    kind = nibabel.Nifti1Header if rng.random() < 0.7 else nibabel.Nifti2Header
    dtype = np.dtype(str(rng.choice(NUMBERS)))
    header, stored, why_not = kind(endianness=str(rng.choice(["<", ">"]))), stored_values(rng, dtype), set()
    header.set_data_dtype(dtype)
    header.set_data_shape(stored.shape + draw_more_axes(rng, why_not))
    (sform, shape), (qform, _) = draw_affine(rng), draw_affine(rng)
    codes = rng.choice([0, 1, 2, 3, 4], 2, p=[0.3, 0.4, 0.1, 0.1, 0.1])
    header.set_qform(rigid(qform), 1)
    if not codes[1] and rng.random() < 0.5:
        header.set_zooms([*np.linalg.norm(sform[:3, :3], axis=0), *header.get_zooms()[3:]])
    header.set_sform(sform, 1)
    header["sform_code"], header["qform_code"] = codes
    affine = sform if codes[0] else rigid(qform)
    if not codes.any():
        why_not.add("does not say how it lies")
    elif codes[0] and shape == "flat":
        why_not.add("do not span a space")
    elif codes[0] and rng.random() < 0.03:
        header["srow_y"][1] = np.nan
        why_not.add("not made of finite numbers")
    if codes[1] and not codes[0] and rng.random() < 0.2:
        lengthen(header, why_not, factor=float(rng.choice([1 + 4e-7, 1.2])))
    unit = int(rng.choice([0, 2, 2, 2, 3, 10]))  # 10: mm and seconds
    header["xyzt_units"] = unit
    if unit == 3:
        affine = np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine
    values = scaled(rng, header, stored, why_not)
    path = write_nifti(rng, folder, header, stored, why_not)
    alone = (
        codes.any() and not codes.all() and np.allclose(header.get_zooms()[:3], np.linalg.norm(affine[:3, :3], axis=0))
    )
    one = bool(alone and shape not in ("sheared", "nearly") and unit != 3)
    return Odd(path, values, np.diag([-1, -1, 1, 1]) @ affine, why_not, one)


def draw_more_axes(rng: np.random.Generator, why_not: set[str]) -> tuple[int, ...]:
    if rng.random() < 0.05:
        why_not.add("not a 3-D volume")
        return (2,)
    return (1,) * int(rng.choice([0, 0, 0, 1, 2]))


def rigid(affine: np.ndarray) -> np.ndarray:
    """Return an affine whose axes are perpendicular, as a qform has them, near to the given one."""
    u, _, v = np.linalg.svd(affine[:3, :3])
    result = affine.copy()
    result[:3, :3] = (u @ v) * np.linalg.norm(affine[:3, :3], axis=0)
    return result


def lengthen(header: nibabel.Nifti1Header, why_not: set[str], factor: float) -> None:
    names = ("quatern_b", "quatern_c", "quatern_d")
    length = np.linalg.norm([float(header[name]) for name in names])
    if factor > 1.1:
        for name in names:
            header[name] = header[name] * factor / length
        why_not.add("its qform is no rotation")
    elif length > 0.9999999:
        for name in names:
            header[name] = header[name] * factor


def scaled(rng: np.random.Generator, header: nibabel.Nifti1Header, stored: np.ndarray, why_not: set[str]) -> np.ndarray:
    slope, intercept = [(1, 0), (0, 5), (np.nan, np.nan), (0.5, -3), (1, -1024), (-2, 7), (np.inf, 0), (2, np.inf)][
        rng.integers(8)
    ]
    header["scl_slope"], header["scl_inter"] = slope, intercept
    if np.isinf(intercept):
        why_not.add("invalid intercept")
    if slope == 0 or not np.isfinite(slope):
        return stored
    return stored * float(slope) + float(intercept)


def write_nifti(
    rng: np.random.Generator, folder: Path, header: nibabel.Nifti1Header, stored: np.ndarray, why_not: set[str]
) -> Path:
    if rng.random() < 0.05:
        header["magic"], header["vox_offset"] = header.pair_magic, 0
        (folder / "a.img").write_bytes(stored.astype(header.get_data_dtype()).tobytes("F"))
        (folder / "a.hdr").write_bytes(header.binaryblock)
        why_not.add("not a volume")
        return folder / "a.hdr"
    start = header.single_vox_offset + 16 * int(rng.integers(0, 4))
    header["magic"], header["vox_offset"] = header.single_magic, start
    if rng.random() < 0.05:
        header["vox_offset"] = 0
        why_not.add("the voxels begin within the header")
    content = header.binaryblock.ljust(start, b"\0") + stored.astype(header.get_data_dtype()).tobytes("F")
    path = folder / str(rng.choice(["a.nii", "a.nii.gz", "A.NII", "A.NII.GZ", "a.Nii.gz"]))
    packed = path.name.lower().endswith(".gz") != (rng.random() < 0.1)
    path.write_bytes((gzip.compress(content) if packed else content) + bytes(int(rng.choice([0, 0, 512]))))
    return path


def nrrd(rng: np.random.Generator, folder: Path) -> Odd:
    dtype = np.dtype(str(rng.choice(NUMBERS)))
    stored, (affine, shape), why_not = stored_values(rng, dtype), draw_affine(rng), set()
    space = str(rng.choice(list(SPACES)))
    if shape == "flat":
        why_not |= {"do not span a space", "direction", "orthonormal"}
    if (turn := SPACES[space]) is None:
        why_not.add("does not say how it lies")
    vectors = " ".join("(" + ",".join(f"{float(x)!r}" for x in axis) + ")" for axis in affine[:3, :3].T)
    order, encoding = str(rng.choice(["little", "big"])), str(rng.choice(["raw", "gzip", "ascii"]))
    lines = [
        "NRRD0005", "# a comment", f"type: {NRRD_TYPES[dtype.str[1:]]}", "dimension: 3", f"space: {space}",
        f"sizes: {' '.join(map(str, stored.shape))}", f"space directions: {vectors}",
        "kinds: domain domain domain", f"endian: {order}", f"encoding: {encoding}",
        "space origin: (" + ",".join(f"{float(x)!r}" for x in affine[:3, 3]) + ")", "a_key:=a value", "", "",
    ]  # fmt: skip
    raw = stored.astype(dtype.newbyteorder({"little": "<", "big": ">"}[order])).tobytes("F")
    if encoding == "gzip":
        raw = gzip.compress(raw)
    elif encoding == "ascii":
        raw = " ".join(repr(value.item()) for value in stored.ravel("F")).encode()
    path = folder / str(rng.choice(["a.nrrd", "A.NRRD", "a.seg.nrrd"]))
    path.write_bytes("\n".join(lines).encode() + raw)
    return Odd(path, stored, np.diag([*(turn or (1, 1, 1)), 1]) @ affine, why_not)


def meta(rng: np.random.Generator, folder: Path) -> Odd:
    dtype = np.dtype(str(rng.choice(NUMBERS)))
    stored, (affine, shape), why_not = stored_values(rng, dtype), draw_affine(rng), set()
    if shape == "flat":
        why_not |= {"do not span a space", "direction", "orthonormal"}
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    big, packed = bool(rng.integers(2)), bool(rng.integers(2))
    raw = stored.astype(dtype.newbyteorder(">" if big else "<")).tobytes("F")
    name = str(rng.choice(["a.mha", "A.MHA", "a.mhd"]))
    data = zlib.compress(raw) if packed else raw
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", f"BinaryDataByteOrderMSB = {big}",
        f"CompressedData = {packed}", *([f"CompressedDataSize = {len(data)}"] if packed else []),
        "TransformMatrix = " + " ".join(f"{float(x)!r}" for x in (affine[:3, :3] / sides).T.ravel()),
        "Offset = " + " ".join(f"{float(x)!r}" for x in affine[:3, 3]),
        "CenterOfRotation = 0 0 0", f"ElementSpacing = {' '.join(f'{float(x)!r}' for x in sides)}",
        f"DimSize = {' '.join(map(str, stored.shape))}", f"ElementType = MET_{META_TYPES[dtype.str[1:]]}",
        f"ElementDataFile = {'LOCAL' if name.lower().endswith('a') else 'a.raw'}", "",
    ]  # fmt: skip
    header = "\n".join(lines).encode()
    if name.endswith("mhd"):
        (folder / "a.raw").write_bytes(data)
        (folder / name).write_bytes(header)
    else:
        (folder / name).write_bytes(header + data)
    return Odd(folder / name, stored, affine, why_not)
