"""DICOM files written for the tests: CT series of any geometry, multi-frame CT, RTSTRUCT and SEG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

AXIAL = (1, 0, 0, 0, 1, 0)


def new_file(path: Path, sop_class, modality: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    tags.SOPClassUID, tags.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    tags.Modality, tags.PatientID, tags.PatientName = modality, "secret-id", "Secret^Name"
    tags.PatientBirthDate = tags.PatientSex = tags.StudyID = tags.AccessionNumber = ""
    tags.StudyDate = tags.StudyTime = tags.ReferringPhysicianName = ""
    tags.Manufacturer, tags.StudyInstanceUID, tags.FrameOfReferenceUID = "", generate_uid(), generate_uid()
    return tags


def set_pixels(tags: FileDataset, stored: np.ndarray, rescale=(1.0, -1024.0)) -> None:
    """Put in whole numbers (int16 or uint16) that are HU after the rescale."""
    tags.Rows, tags.Columns = stored.shape[-2:]
    tags.SamplesPerPixel, tags.PhotometricInterpretation = 1, "MONOCHROME2"
    tags.BitsAllocated, tags.BitsStored, tags.HighBit = 16, 16, 15
    tags.PixelRepresentation = int(stored.dtype == np.int16)
    if rescale is not None:
        tags.RescaleSlope, tags.RescaleIntercept = map(str, rescale)
    tags.PixelData = np.ascontiguousarray(stored).tobytes()


def write_series(
    folder: Path,
    hu_zyx: np.ndarray,
    *,
    spacing_mm=(2.0, 2.0),
    step_mm=(0.0, 0.0, 3.0),
    origin_mm=(0.0, 0.0, 0.0),
    cosines=AXIAL,
    number=1,
    positions_mm=None,
    edit=lambda z, tags: None,
    name="{number}-{z}.dcm",
    **tags_of_all,
) -> None:
    """Write a CT series; `edit` changes the tags of a slice before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for z, plane in enumerate(hu_zyx):
        path = folder / name.format(number=number, z=z)
        tags = new_file(path, CTImageStorage, "CT")
        tags.SeriesInstanceUID, tags.StudyInstanceUID, tags.FrameOfReferenceUID = series, study, frame
        tags.SeriesNumber, tags.InstanceNumber = number, z + 1
        tags.PixelSpacing, tags.SliceThickness = list(spacing_mm), 3.0
        position_mm = np.array(origin_mm) + z * np.array(step_mm) if positions_mm is None else positions_mm[z]
        tags.ImagePositionPatient = [f"{value:.6f}"[:16] for value in position_mm]
        tags.ImageOrientationPatient = [f"{value:.12f}"[:16] for value in cosines]
        set_pixels(tags, (plane + 1024).astype(np.uint16))
        for key, value in tags_of_all.items():
            setattr(tags, key, value)
        edit(z, tags)
        tags.save_as(path, enforce_file_format=True)


def write_enhanced(
    path: Path, hu_zyx: np.ndarray, rescale=(1.0, -1024.0), order=None, start_mm=0.0, **tags_of_all
) -> None:
    """Write a multi-frame CT with pixels of 2 mm and slices 3 mm apart, the frames in any order."""
    tags = new_file(path, EnhancedCTImageStorage, "CT")
    tags.SeriesInstanceUID, tags.SeriesNumber = generate_uid(), 1
    tags.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    order = range(len(hu_zyx)) if order is None else order
    slope, intercept = rescale
    set_pixels(tags, ((hu_zyx[list(order)] - intercept) / slope).astype(np.uint16), None)
    tags.NumberOfFrames = len(hu_zyx)
    shared, measures, orientation, transform = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 2.0], 3.0
    orientation.ImageOrientationPatient = list(AXIAL)
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, intercept, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([transform])
    frames = []
    for z in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, start_mm + 3.0 * z]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    tags.SharedFunctionalGroupsSequence, tags.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    for key, value in tags_of_all.items():
        setattr(tags, key, value)
    tags.save_as(path, enforce_file_format=True)


def write_contours(path: Path, rois: Mapping[str, list[Any]], kind="CLOSED_PLANAR") -> None:
    """Write an RTSTRUCT; a contour is an array (points, xyz) in mm."""
    tags = new_file(path, RTStructureSetStorage, "RTSTRUCT")
    tags.SeriesInstanceUID = generate_uid()
    tags.StructureSetROISequence, tags.ROIContourSequence = Sequence(), Sequence()
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi, of_roi = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, of_roi.ReferencedROINumber = number, name, number
        of_roi.ContourSequence = Sequence()
        for points_mm in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.ContourData = [f"{value:.6f}"[:16] for value in np.ravel(points_mm)]
            of_roi.ContourSequence.append(contour)
        tags.StructureSetROISequence.append(roi)
        tags.ROIContourSequence.append(of_roi)
    tags.save_as(path, enforce_file_format=True)


def write_segments(path: Path, source: Path, masks: dict[str, np.ndarray], kind="BINARY") -> None:
    """Write a SEG of a series; slices without a segment are left out of the file, as usual."""
    planes = [pydicom.dcmread(file) for file in sorted(source.glob("*.dcm"))]
    planes = sorted(planes, key=lambda tags: float(tags.ImagePositionPatient[2]))
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(masks, start=1)
    ]
    highdicom.seg.Segmentation(
        source_images=planes,
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.float32 if kind == "FRACTIONAL" else np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues[kind],
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
    ).save_as(path)
