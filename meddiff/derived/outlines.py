"""A DICOM RTSTRUCT of labels: closed outlines on the slices of their series; one within another is a hole."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from meddiff import __version__
from meddiff.derived.series import MAKER
from meddiff.volumes.geometry import Grid

COLOURS = 120, 80, 200  # steps from one region's red, green and blue to the next one's
STUDY = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("StudyDescription", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)


def rtstruct_of(labels_zyx: np.ndarray, names: Mapping[int, str], headers: list[Any], grid: Grid) -> Any:
    """Return the RTSTRUCT of labels on the slices of a series, each of which has a header.

    Its outlines go half the way to the voxels outside, so that the voxels whose centres they enclose are the labels'.
    """
    from pydicom import Dataset

    tags = _file(headers)
    tags.StructureSetROISequence, tags.ROIContourSequence, tags.RTROIObservationsSequence = [], [], []
    for number, (label, name) in enumerate(names.items(), start=1):
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber = contours.ReferencedROINumber = observation.ReferencedROINumber = number
        roi.ReferencedFrameOfReferenceUID = headers[0].FrameOfReferenceUID
        roi.ROIName, roi.ROIGenerationAlgorithm = name, "AUTOMATIC"
        contours.ROIDisplayColor = [55 + number * step % 200 for step in COLOURS]
        contours.ContourSequence = list(_contours(labels_zyx == label, headers, grid))
        observation.ObservationNumber, observation.RTROIInterpretedType, observation.ROIInterpreter = number, "", ""
        tags.StructureSetROISequence.append(roi)
        tags.ROIContourSequence.append(contours)
        tags.RTROIObservationsSequence.append(observation)
    return tags


def _file(headers: list[Any]) -> Any:
    """Return an RTSTRUCT in the study of a series, without regions."""
    from pydicom import Dataset, FileDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian  # in the explicit ones no outline is longer than 64 KiB
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    tags = FileDataset("", Dataset(), preamble=b"\0" * 128, file_meta=meta)
    tags.SOPClassUID, tags.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for name in STUDY:
        if name in headers[0]:
            tags[name] = headers[0][name]
    now = datetime.now()
    tags.Modality, tags.SeriesInstanceUID, tags.SeriesDescription = "RTSTRUCT", generate_uid(), f"regions by {MAKER}"
    tags.SeriesNumber, tags.InstanceNumber = int(headers[0].get("SeriesNumber") or 0) + 2000, 1
    tags.Manufacturer = tags.ManufacturerModelName = MAKER
    tags.SoftwareVersions, tags.OperatorsName = __version__, ""
    tags.StructureSetLabel, tags.ApprovalStatus = "REGIONS", "UNAPPROVED"
    tags.StructureSetDate, tags.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    tags.ReferencedFrameOfReferenceSequence = [_frame_of_reference(headers)]
    return tags


def _frame_of_reference(headers: list[Any]) -> Any:
    from pydicom import Dataset
    from pydicom.uid import UID

    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = headers[0].FrameOfReferenceUID, [study]
    study.ReferencedSOPClassUID = UID("1.2.840.10008.3.1.2.3.1")  # retired, and still asked for
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = headers[0].StudyInstanceUID, [series]
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(header) for header in headers]
    return frame


def _reference(header: Any) -> Any:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def _contours(mask_zyx: np.ndarray, headers: list[Any], grid: Grid) -> Iterator[Any]:
    from pydicom import Dataset
    from pydicom.valuerep import format_number_as_ds
    from skimage.measure import find_contours

    for z in np.flatnonzero(mask_zyx.any((1, 2))).tolist():
        for ring_yx in find_contours(np.pad(mask_zyx[z], 1).astype(np.float32), 0.5):
            corners_yx = _corners(ring_yx) - 1
            points_mm = grid.origin_mm + np.insert(corners_yx[:, ::-1], 2, z, axis=1) @ grid.axes_mm.T
            contour = Dataset()
            contour.ContourImageSequence = [_reference(headers[z])]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points_mm)
            contour.ContourData = [format_number_as_ds(round(float(v), 4)) for v in points_mm.ravel()]
            yield contour


def _corners(ring_yx: np.ndarray) -> np.ndarray:
    """Return the points of a closed line, whose last one is its first one, at which it turns."""
    steps = np.diff(ring_yx, axis=0)
    return ring_yx[:-1][(np.roll(steps, 1, axis=0) != steps).any(1)]
