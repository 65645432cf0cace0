"""What is made from a DICOM series, written beside it: CT and maps, SEG, RTSTRUCT."""
