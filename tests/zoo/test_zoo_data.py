import gzip
import http.server
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from wieldy.core import digest
from wieldy.core.errors import DataError, DependencyError, DigestError
from wieldy.zoo.data import digits, fashion, mnist
from wieldy.zoo.data.idx import read_idx

FOLDER = Path(fashion.__file__).parent
SETS = {"fashion": (fashion.embedded, (1, 28, 28), (8000, 2000, 3000)),
        "digits": (digits.optical_digits, (1, 8, 8), (3000, 823, 1797))}  # fmt: skip


@pytest.fixture(scope="module", params=SETS)
def known(request):
    load, shape, sizes = SETS[request.param]
    return load(), shape, sizes


def splits(data):
    return data.train, data.validate, data.test


def test_splits_have_the_stated_sizes_and_shapes(known):
    data, shape, sizes = known
    for split, size in zip(splits(data), sizes, strict=True):
        assert split.inputs.shape == (size, *shape)
        assert (split.inputs.dtype, split.targets.dtype) == (np.float32, np.int64)
    assert len(data.classes) == 10
    assert data.notes == ()


def test_every_class_is_in_every_split_about_as_often(known):
    for split in splits(known[0]):
        counts = np.bincount(split.targets, minlength=10)
        assert len(counts) == 10
        assert counts.min() > 0.8 * counts.mean()


def test_no_picture_is_in_two_splits(known):
    train, validate, test = ({picture.tobytes() for picture in split.inputs} for split in splits(known[0]))
    assert train.isdisjoint(validate)
    assert train.isdisjoint(test)
    assert validate.isdisjoint(test)


def test_fashion_pictures_are_normalised():
    inputs = fashion.embedded().train.inputs
    assert abs(inputs.mean()) < 0.02
    assert abs(inputs.std() - 1) < 0.02
    black_and_white = fashion.normalise(np.array([[[0, 255]]], np.uint8))
    np.testing.assert_allclose(black_and_white, [[[[-0.2860 / 0.3530, 0.7140 / 0.3530]]]], rtol=1e-6)


def test_digits_run_from_minus_one_to_one_in_steps_of_an_eighth():
    for split in splits(digits.optical_digits()):
        levels = np.unique(split.inputs)
        assert (levels[0], levels[-1]) == (-1, 1)
        np.testing.assert_array_equal(levels * 8, np.round(levels * 8))


def test_a_known_picture_is_the_published_one():
    """The first row of optdigits.tra: a nought; its pixels begin 0, 1, 6, 15, 12, 1, 0, 0."""
    row = np.array([0, 1, 6, 15, 12, 1, 0, 0], np.float32) / 8 - 1
    data = digits.optical_digits()
    pool = np.concatenate([data.train.inputs, data.validate.inputs])
    labels = np.concatenate([data.train.targets, data.validate.targets])
    found = (pool[:, 0, 0] == row).all(axis=1)
    assert 0 in labels[found]


@pytest.mark.parametrize(
    ("module", "constant", "load"),
    [(fashion, "SUBSET_SHA256", fashion.embedded), (digits, "FILE_SHA256", digits.optical_digits)],
)
def test_a_file_other_than_the_pinned_one_is_refused(monkeypatch, module, constant, load):
    monkeypatch.setattr(module, constant, "0" * 64)
    with pytest.raises(DigestError, match="its SHA-256 must be 0000"):
        load()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LICENSE-fashion-mnist", ("MIT License", "2017 Zalando SE")),
        (
            "LICENSE-optical-digits",
            ("E. Alpaydin", "C. Kaynak", "creativecommons.org/licenses/by/4.0", "Changes made"),
        ),
    ],
)
def test_each_data_set_carries_its_licence(name, words):
    text = (FOLDER / name).read_text()
    assert [word for word in words if word not in text] == []


# Fashion-MNIST in full: small files of the same form stand in for the publisher's


TRAIN, TEST, HELD_OUT = 40, 10, [3, 5, 8]


def small_files():
    draw = np.random.default_rng(0)
    found = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        pixels = draw.integers(0, 256, (count, 28, 28), np.uint8)
        found[f"{part}-images-idx3-ubyte.gz"] = (
            struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes()
        )
        found[f"{part}-labels-idx1-ubyte.gz"] = struct.pack(">HBBI", 0, 8, 1, count) + bytes(
            range(count)
        ).translate(bytes(i % 10 for i in range(256)))
    return found


FILES = small_files()


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    """Small files for the publisher's, and neither the system's folder nor the user's cache."""
    monkeypatch.setattr(
        fashion, "CONTENT_SHA256", {name: digest.of_bytes(data) for name, data in FILES.items()}
    )
    monkeypatch.setattr(fashion, "_subset", lambda: {"validate_index": np.array(HELD_OUT, np.uint16)})
    monkeypatch.setattr(fashion, "SYSTEM", tmp_path / "system")
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def put(folder, files=FILES):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(gzip.compress(data))
    return folder


def test_the_held_out_pictures_are_validated_on_and_never_trained_on(publisher):
    data = fashion.full(put(publisher / "mine"))
    assert [split.size for split in splits(data)] == [TRAIN - 3, 3, TEST]
    whole = read_idx(publisher / "mine" / "train-images-idx3-ubyte.gz",
                     fashion.CONTENT_SHA256["train-images-idx3-ubyte.gz"])  # fmt: skip
    np.testing.assert_array_equal(data.validate.inputs, fashion.normalise(whole[HELD_OUT]))
    np.testing.assert_array_equal(data.train.inputs, fashion.normalise(np.delete(whole, HELD_OUT, axis=0)))
    np.testing.assert_array_equal(data.validate.targets, [3, 5, 8])


@pytest.mark.parametrize("place", ["system", "cache/fashion-mnist"])
def test_the_system_s_folder_and_the_cache_are_looked_at(publisher, place):
    put(publisher / place)
    assert fashion.full().test.size == TEST


def test_a_named_folder_is_the_only_one_looked_at(publisher):
    put(publisher / "system")
    with pytest.raises(DataError, match=r"are not in .*mine"):
        fashion.full(str(publisher / "mine"))


def test_files_that_are_nowhere_are_told_with_the_ways_to_get_them(publisher):
    with pytest.raises(DataError) as found:
        fashion.full()
    text = str(found.value)
    assert f"{publisher}/system or {publisher}/cache/fashion-mnist" in text
    for way in ("dataset-fashion-mnist", "name their folder", "make data", "download=True"):
        assert way in text
    assert os.listdir(publisher) == []


def test_files_with_other_contents_are_refused(publisher):
    put(publisher / "mine", FILES | {"t10k-labels-idx1-ubyte.gz": b"other"})
    with pytest.raises(
        DataError, match=r"t10k-labels-idx1-ubyte.gz: its contents are not the published ones"
    ):
        fashion.full(publisher / "mine")


@pytest.fixture
def server(publisher, monkeypatch):
    """A server on this machine that offers `served`, and counts what was asked for."""
    served, asked = {name: gzip.compress(data) for name, data in FILES.items()}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            asked.append(name)
            if name not in served:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(served[name])))
            self.end_headers()
            self.wfile.write(served[name])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(fashion, "PUBLISHER", f"http://127.0.0.1:{http_server.server_port}/")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        yield served, asked
        http_server.shutdown()
        thread.join()


def test_nothing_is_downloaded_unless_asked_for(server):
    with pytest.raises(DataError, match="download=True"):
        fashion.full()
    assert server[1] == []


def test_files_are_downloaded_once_into_the_cache(server, publisher):
    _, asked = server
    first = fashion.full(download=True)
    again = fashion.full(download=True)
    assert sorted(asked) == sorted(FILES)
    assert sorted(os.listdir(publisher / "cache" / "fashion-mnist")) == sorted(FILES)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    assert fashion.full().test.size == TEST


def test_a_download_with_other_contents_is_refused_and_not_kept(server, publisher):
    served, asked = server
    name = "t10k-images-idx3-ubyte.gz"
    good, served[name] = served[name], gzip.compress(b"<html>moved</html>")
    with pytest.raises(DataError, match=f"{name}: its contents are not the published ones"):
        fashion.full(download=True)
    assert name not in os.listdir(publisher / "cache" / "fashion-mnist")
    served[name] = good
    assert fashion.full(download=True).test.size == TEST
    assert asked.count("train-images-idx3-ubyte.gz") == 1


def test_a_file_that_the_publisher_lacks_is_named(server):
    del server[0]["train-labels-idx1-ubyte.gz"]
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz: could not be downloaded \(404"):
        fashion.full(download=True)


def test_a_publisher_that_cannot_be_reached_is_told(publisher, monkeypatch):
    monkeypatch.setattr(fashion, "PUBLISHER", "http://127.0.0.1:1/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DataError, match=r"http://127.0.0.1:1/.*: could not be downloaded"):
        fashion.full(download=True)


def test_without_pooch_the_extra_is_named(publisher, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DependencyError, match=r"downloading Fashion-MNIST needs pooch.*wieldy\[compress\]"):
        fashion.full(download=True)


def test_the_embedded_pictures_are_the_publisher_s_at_the_stated_places():
    try:
        images, labels, *_ = fashion._published().arrays(None, download=False)
    except DataError as error:
        pytest.skip(str(error))
    stored = fashion._subset()
    index = stored["validate_index"]
    assert (images.shape, len(set(index.tolist()))) == ((60000, 28, 28), 2000)
    np.testing.assert_array_equal(images[index], stored["validate_images"])
    np.testing.assert_array_equal(labels[index], stored["validate_labels"])
    kept = {picture.tobytes() for picture in np.delete(images, index, axis=0)}
    assert {picture.tobytes() for picture in stored["train_images"]} <= kept


# MNIST: the same container, no embedded subset


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    monkeypatch.setattr(
        mnist, "CONTENT_SHA256", {name: digest.of_bytes(data) for name, data in FILES.items()}
    )
    monkeypatch.setattr(mnist, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(mnist, "VALIDATE", 5)
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_last_pictures_of_mnist_are_validated_on(small_mnist):
    data = mnist.full(put(small_mnist / "mine"))
    assert [split.size for split in splits(data)] == [TRAIN - 5, 5, TEST]
    whole = read_idx(
        small_mnist / "mine" / "train-images-idx3-ubyte.gz",
        mnist.CONTENT_SHA256["train-images-idx3-ubyte.gz"],
    )
    np.testing.assert_array_equal(data.validate.inputs, mnist.normalise(whole[-5:]))
    assert data.classes == tuple("0123456789")


def test_mnist_that_is_nowhere_names_the_way_out(small_mnist):
    with pytest.raises(DataError, match=r"MNIST: its four files are not in .*make data"):
        mnist.full()
    put(small_mnist / "cache" / "mnist")
    assert mnist.full().train.size == TRAIN - 5
