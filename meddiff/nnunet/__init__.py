"""nnU-Net, trained and applied by its own commands."""
