"""Downloads: broken connections, wrong files, full disks and unsafe archives, against a server on this machine."""

import errno
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meddiff.datasets import Remote, download
from meddiff.datasets.download import Patience, bring, fetch, unpack
from meddiff.errors import UserError

CONTENT = bytes(range(256)) * 40_000  # 10 MB: many chunks
QUICK = Patience(breaks=3, wait_seconds=0)


class Http(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that goes away is what is tested here."""


class Server:
    """Serves CONTENT under any name; `breaks` says after how many bytes each of the next answers breaks off."""

    def __init__(self):
        self.breaks, self.ranges, self.status, self.honours_range, self.content = [], [], 200, True, CONTENT
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, format, *args):
                pass

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request):
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked[len("bytes=") : -1]) if asked and self.honours_range else 0
        if self.status != 200:
            request.send_error(self.status)
            return
        if start >= len(self.content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks.pop(0)] if self.breaks else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def digest(content=CONTENT):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def left_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_download_goes_on_where_the_connection_broke(server, tmp_path):
    server.breaks = [3_000_000, 1_000_000]
    path = fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert path.read_bytes() == CONTENT
    first, second, third = server.ranges
    assert first is None
    assert 0 < int(second[6:-1]) < int(third[6:-1]) < len(CONTENT)
    assert left_in(tmp_path) == ["a.bin"]


def test_a_later_command_goes_on_from_what_an_earlier_one_left(server, tmp_path):
    server.breaks = [3_000_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match=r"connection breaks .* the same command goes on"):
        fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert left_in(tmp_path) == ["a.bin.part"]
    server.breaks, server.ranges = [], []
    assert fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK).read_bytes() == CONTENT
    assert int(server.ranges[0][6:-1]) > 0


def test_a_complete_part_needs_no_byte_more(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK).read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_sends_all_again(server, tmp_path):
    server.honours_range, server.breaks = False, [3_000_000]
    assert fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK).read_bytes() == CONTENT


def test_what_is_there_already_is_not_asked_for(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert server.ranges == []


@pytest.mark.parametrize(
    ("remote", "words"),
    [({"digest": digest(b"another")}, "sha256 differs"), ({"size_bytes": 5}, "10,240,000 bytes instead of 5")],
)
def test_another_file_than_expected_is_deleted(server, tmp_path, remote, words):
    with pytest.raises(UserError, match=words):
        fetch(Remote(f"{server.url}/a.bin", **remote), tmp_path, QUICK)
    assert left_in(tmp_path) == []


def test_a_file_that_is_gone_is_one_line(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"a\.bin: the server answers 404") as caught:
        fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert "\n" not in str(caught.value)
    assert len(server.ranges) == 1


def test_a_busy_server_is_asked_again_and_then_given_up(server, tmp_path):
    server.status = 503
    with pytest.raises(UserError, match="connection breaks"):
        fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert len(server.ranges) == QUICK.breaks + 1


def test_no_server_at_all_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError, match="connection breaks"):
        fetch(Remote("http://127.0.0.1:9/a.bin", digest()), tmp_path, QUICK)


def test_a_disk_that_is_too_small_is_noticed_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(UserError, match=r"needs 10.2 MB in .*, 1.0 MB are free"):
        fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert left_in(tmp_path) == []


def test_a_disk_that_runs_full_during_the_download_is_one_line_and_no_half_file(server, tmp_path, monkeypatch):
    def full(meter, count):
        if meter.have > 2_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        meter.have += count

    with monkeypatch.context() as context:
        context.setattr(download._Meter, "add", full)
        with pytest.raises(UserError, match=r"a\.bin: the disk of .* is full"):
            fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK)
    assert left_in(tmp_path) == ["a.bin.part"]
    assert fetch(Remote(f"{server.url}/a.bin", digest()), tmp_path, QUICK).read_bytes() == CONTENT


def test_a_disk_that_runs_full_while_unpacking_leaves_nothing_of_the_archive(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zip_of({"s0000/ct.nii.gz": "one", "s0001/ct.nii.gz": "two"}))

    def full(archive, folder):
        (folder / "s0000").mkdir()
        (folder / "s0000" / "ct.nii.gz").write_text("o")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(UserError, match=r"a\.zip: the disk of .* is full"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert left_in(tmp_path) == ["a.zip"]


def test_a_dataset_is_downloaded_checked_and_unpacked_once(server, tmp_path):
    server.content = zip_of({"imagesTr/a.nii.gz": "one", "labelsTr/a.nii.gz": "two"})
    remotes = [Remote(f"{server.url}/{part}.zip", digest(server.content)) for part in ("one", "two")]
    bring(remotes, tmp_path / "set")
    bring(remotes, tmp_path / "set")
    assert len(server.ranges) == 2
    assert left_in(tmp_path / "set") == ["SOURCE.json", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz"]
    source = json.loads((tmp_path / "set" / "SOURCE.json").read_text())
    assert {entry["sha256"] for entry in source.values()} == {hashlib.sha256(server.content).hexdigest()}
    assert {entry["checked"] for entry in source.values()} == {"sha256"}


def test_the_archive_stays_if_it_is_wanted_and_parts_of_a_dataset_are_merged(server, tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "b.nii.gz").touch()
    server.content = zip_of({"imagesTr/a.nii.gz": "one"})
    bring([Remote(f"{server.url}/one.zip?download=1", size_bytes=len(server.content))], tmp_path, keep=True)
    assert left_in(tmp_path) == [".archives/one.zip", "SOURCE.json", "imagesTr/a.nii.gz", "imagesTr/b.nii.gz"]
    assert next(iter(json.loads((tmp_path / "SOURCE.json").read_text()).values()))["checked"] == "size"


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped", "a\\..\\escaped"])
def test_a_zip_with_a_path_out_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zip_of({"good": "x", name: "y"}))
    with pytest.raises(UserError, match="unsafe path"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert left_in(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", ["path", "link"])
def test_a_tar_that_leaves_the_folder_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("../escaped" if kind == "path" else "link")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(UserError, match=r"a\.tar: cannot be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert left_in(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_broken_archive_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no archive" * 100)
    with pytest.raises(UserError, match="cannot be unpacked") as caught:
        unpack(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == [name]
