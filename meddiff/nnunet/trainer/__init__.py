"""The trainers that nnU-Net finds here."""
