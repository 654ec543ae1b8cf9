"""One set of laws for files on disk, in Google's store and in Amazon's (emulators on loopback)."""

import ctypes
import glob
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yt8m_data import deltas, heads, shards, storage, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.storage import ObjectPath

STORES = ["disk", pytest.param("gs", marks=pytest.mark.cloud), pytest.param("s3", marks=pytest.mark.cloud)]


@pytest.fixture(params=STORES)
def root(request, tmp_path):
    """An empty folder of each kind."""
    if request.param == "disk":
        return str(tmp_path)
    bucket = request.getfixturevalue(f"{request.param}_bucket")
    return f"{bucket}/{tmp_path.name}"


def put(url, contents):
    path = storage.to_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.atomic_write(url) as stream:
        stream.write(contents)


@pytest.mark.parametrize("size", [0, 1, 20 << 20])
def test_what_is_written_is_read(root, size):
    contents = os.urandom(size)
    put(f"{root}/a/b", contents)
    path = storage.to_path(f"{root}/a/b")
    assert path.exists()
    assert storage.size(str(path)) == size
    assert path.read_bytes() == contents
    with storage.open_read(str(path)) as stream:
        buffer = bytearray(size + 1)
        have = 0
        while count := stream.readinto(memoryview(buffer)[have:]):
            have += count
    assert buffer[:have] == contents


def test_a_write_that_fails_leaves_nothing_and_spares_what_was_there(root):
    put(f"{root}/old", b"old")
    for name in ("old", "new"):
        with pytest.raises(TypeError), storage.atomic_write(f"{root}/{name}") as stream:
            stream.writelines([b"half of it", None])
    assert storage.to_path(f"{root}/old").read_bytes() == b"old"
    assert not storage.to_path(f"{root}/new").exists()
    assert [path.name for path in storage.to_path(root).iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/metrics.json", r"there is no folder .*nowhere for metrics\.json: make it, or give another path"),
        ("file/metrics.json", r"there is no folder .*file for metrics\.json"),
        ("folder", r"folder is a folder: give the path of a file"),
        ("locked/metrics.json", r"the folder .*locked may not be written in: give another path for metrics\.json"),
    ],
)
def test_where_no_file_can_be_written(tmp_path, monkeypatch, name, message):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "locked" or mode != os.W_OK)  # root may write anywhere
    with pytest.raises(DataError, match=message), storage.atomic_write(tmp_path / name):
        raise AssertionError("the work began")
    storage.check_target(tmp_path / "folder" / "metrics.json")
    storage.check_target(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "locked"]


def test_paths_have_the_parts_of_pathlib(root):
    path = storage.to_path(root) / "folder" / "x.tar.gz"
    assert (path.name, path.stem, path.parent.name) == ("x.tar.gz", "x.tar", "folder")
    assert str(path.with_name("y")) == f"{root}/folder/y"
    assert path == storage.to_path(f"{root}/folder/x.tar.gz")
    assert len({path, storage.to_path(str(path))}) == 1


def test_folders(root):
    for name in ("f/one.png", "f/two.csv", "f/deep/three"):
        put(f"{root}/{name}", name.encode())
    folder = storage.to_path(root) / "f"
    assert folder.is_dir()
    assert not (folder / "one.png").is_dir()
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "one.png", "two.csv"]
    assert [path.name for path in folder.glob("*.png")] == ["one.png"]
    (folder / "one.png").unlink()
    (folder / "one.png").unlink(missing_ok=True)
    assert not (folder / "one.png").exists()
    storage.remove_tree(folder)
    assert not folder.exists()


PATTERNS = ["a?.tfrecord", "*", "*.tfrecord", "sub/*", "**/*.tfrecord", "sub/**", "a[01].tfrecord", "a0.tfrecord", "none*", "none"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_as_on_disk(root, tmp_path_factory, pattern):
    disk = tmp_path_factory.mktemp("disk")
    names = ["a0.tfrecord", "a1.tfrecord", "b.csv", "sub/a2.tfrecord", "sub/more/a3.tfrecord"]
    for name in names:
        put(f"{root}/{name}", b"")
        put(str(disk / name), b"")
    expected = sorted(os.path.relpath(path, disk) for path in glob.glob(str(disk / pattern), recursive=True) if os.path.isfile(path))
    assert sorted(path[len(root) + 1 :] for path in storage.expand(f"{root}/{pattern}")) == expected


def test_an_output_folder_is_refused_emptied_and_never_robbed(root):
    out = f"{root}/out"
    assert str(shards.prepare_output(out, overwrite=False)) == out
    put(f"{out}/train-00000-of-00001.tfrecord", b"x")
    shards.write_json(f"{out}/manifest.json", {"job": "test"})
    assert shards.read_json(f"{out}/manifest.json") == {"job": "test"}
    with pytest.raises(DataError, match="holds a finished output"):
        shards.prepare_output(out, overwrite=False)
    shards.prepare_output(out, overwrite=True)
    assert list(storage.to_path(out).iterdir()) == []
    put(f"{out}/mine.txt", b"x")
    with pytest.raises(DataError, match=r"mine\.txt"):
        shards.prepare_output(out, overwrite=True)
    put(f"{root}/file", b"x")
    with pytest.raises(DataError, match="is a file"):
        shards.check_output(f"{root}/file", overwrite=True)


def test_a_json_file_that_is_missing(root):
    with pytest.raises(DataError, match="there is no"):
        shards.read_json(f"{root}/missing.json")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=20))
def test_records_are_read_and_scanned_alike(root, lengths):
    sink = io.BytesIO()
    tfrecord.write(sink, [bytes([number]) * length for number, length in enumerate(lengths)])
    url = f"{root}/records"
    put(url, sink.getvalue())
    with storage.open_read(url) as stream:
        read = [block.record(row) for block in tfrecord.read(stream, url, 4096) for row in range(len(block))]
    assert [len(record) for record in read] == lengths
    with heads.open_source(url) as source:
        blocks = heads.scan(source, 100, source.gap_bytes, source.window_bytes)
        first = [block.record(row) for block in blocks for row in range(len(block))]
    assert first == [record[:100] for record in read]


@pytest.mark.parametrize(
    ("url", "message"), [("hdfs://a/b", "begins with gs or s3://"), ("gs://", "names no bucket"), ("s3:///", "names no bucket")]
)
def test_urls_that_are_none(url, message):
    with pytest.raises(DataError, match=message):
        storage.to_path(url)


@pytest.mark.cloud
@pytest.mark.parametrize("store", ["gs", "s3"])
def test_what_the_store_refuses_is_one_sentence(store, request):
    request.getfixturevalue(f"{store}_bucket")
    with pytest.raises(DataError, match=rf"{store}://no-such-bucket/x") as caught:
        storage.open_read(f"{store}://no-such-bucket/x")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="there is no object"):
        storage.size(f"{store}://shards/no-such-object")


@pytest.mark.cloud
@pytest.mark.parametrize("store", ["gs", "s3"])
def test_an_upload_that_is_killed_leaves_nothing(store, request, tmp_path):
    url = f"{request.getfixturevalue(f'{store}_bucket')}/{tmp_path.name}/killed"
    script = f"""
import os
from yt8m_data import storage
with storage.atomic_write({url!r}) as stream:
    stream.write(bytes(30 << 20))
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert not ObjectPath(url).exists()


def test_deltas_are_written_and_read(root):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.float32()), 2)
    columns = {"plus": pa.array([b"a", b"b"]), "minus": pa.array([b"c", b"d"]), "label": pa.array([1, 2], pa.int32()), "mean_rgb": vectors}
    deltas.write(f"{root}/deltas.arrow", pa.record_batch(columns))
    assert deltas.read(f"{root}/deltas.arrow").vectors["mean_rgb"].tolist() == [[1, 2], [3, 4]]


def test_what_is_temporary_goes_to_a_disk(root):
    assert storage.disk_for(root) == (tempfile.gettempdir() if "://" in root else root)


def test_the_disk_begins_before_a_large_file_is_whole(tmp_path, monkeypatch):
    begun = []

    def begin(descriptor, offset, length, flags):
        begun.append((os.fstat(descriptor).st_size, offset.value, length.value, flags))
        return 0

    monkeypatch.setattr(storage, "_sync_file_range", lambda: begin)
    piece = os.urandom(3 << 20)
    with storage.atomic_write(tmp_path / "large") as stream:
        for _ in range(7):
            stream.write(piece)
    assert (tmp_path / "large").read_bytes() == piece * 7
    assert begun == [(9 << 20, 0, 0, 2), (18 << 20, 0, 0, 2)]


def test_the_system_takes_the_call_that_lets_the_disk_begin(tmp_path):
    with open(tmp_path / "file", "wb") as stream:
        stream.write(b"x")
        stream.flush()
        begin = storage._sync_file_range()
        assert begin(stream.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), 2) == 0


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system has no posix_fadvise")
def test_a_large_file_leaves_the_memory_when_it_is_on_the_disk(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("on the disk"))
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, start, size, advice: calls.append((start, size, advice)))
    put(tmp_path / "small", bytes(8000))
    assert calls == ["on the disk"]
    put(tmp_path / "large", bytes(9 << 20))
    assert calls[1:] == ["on the disk", (0, 0, os.POSIX_FADV_DONTNEED)]
    assert (tmp_path / "large").read_bytes() == bytes(9 << 20)
