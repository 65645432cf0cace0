"""The training set of the demo's anatomy weights."""

import pytest
import SimpleITK as sitk

from meddiff.config import Region, WindowsConfig
from meddiff.demo import train_weights
from meddiff.demo.phantom import make_phantom
from meddiff.volumes import volumes


@pytest.mark.slow
def test_the_training_set_is_what_nnunet_expects(tmp_path):
    case = make_phantom(3, 4.0, "chest")
    folder = tmp_path / "case"
    volumes.write_image(volumes.from_zyx(case.ct_zyx, 4.0), folder / "ct.nii.gz")
    volumes.write_image(volumes.from_zyx(case.labels_zyx, 4.0), folder / "anatomy.nii.gz")
    count = train_weights.write_training_set(tmp_path / "raw", {Region.CHEST: folder}, WindowsConfig(), 1)
    dataset = tmp_path / "raw" / train_weights.DATASET
    assert count == 12 == len(list((dataset / "imagesTr").iterdir()))
    labels = sitk.ReadImage(str(dataset / "labelsTr" / "chest-0.nii.gz"))
    image = sitk.ReadImage(str(dataset / "imagesTr" / "chest-0_0000.nii.gz"))
    assert labels.GetDirection() == image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    assert sitk.GetArrayFromImage(labels).max() <= len(train_weights.TRAINED)
