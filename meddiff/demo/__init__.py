"""Scans and phantoms of the demo, and the training of its anatomy weights."""
