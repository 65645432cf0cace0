"""`python -m meddiff`."""

from meddiff.cli.main import run

run()
