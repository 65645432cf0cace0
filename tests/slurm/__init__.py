"""The workflow on a real SLURM, which the tests start on the loopback host."""
