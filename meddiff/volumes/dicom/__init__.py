"""DICOM series, their headers, and labels drawn on them."""
