"""Directories of labelled images: what is read, what becomes of it, and what is said of files that are no images."""

import io
import os
import re
import struct
import sys
import threading
import zlib

import jax
import numpy as np
import pytest

import fnn

PIL = pytest.importorskip("PIL.Image")
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def picture(height=4, width=6, channels=3, rng=RNG):
    """Random uint8 pixels."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return rng.integers(256, size=shape).astype(np.uint8)


def put(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Seven images of two classes, and what is in them by class and name."""
    rng = np.random.default_rng(1)
    names = ["b/2.png", "b/1.png", "b/deep/0.png", "b/x.PNG", "a/9.png", "a/10.png", "a/3.bmp"]
    written = {name: picture(rng=rng) for name in names}
    for name, pixels in written.items():
        put(tmp_path / name, pixels)
    return tmp_path, written


ORDER = ["a/10.png", "a/3.bmp", "a/9.png", "b/1.png", "b/2.png", "b/deep/0.png", "b/x.PNG"]


def test_classes_and_files_are_sorted_and_pixels_are_those_written(folder):
    place, written = folder
    found = fnn.data.images(str(place))
    assert found.classes == ("a", "b")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.labels.dtype == np.int32
    assert [path.relative_to(place).as_posix() for path in found.paths] == ORDER
    assert found.shape == (4, 6, 3)
    x, y = found.arrays()
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.stack([written[name] for name in ORDER]) / np.float32(255))
    np.testing.assert_array_equal(y, found.labels)
    assert repr(found) == "ImageFolder(7 images of shape (4, 6, 3), 2 classes)"


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_batches_in_order_are_the_arrays_cut(folder, batch_size):
    found = fnn.data.images(folder[0])
    stream = found.batches(batch_size)
    batches = list(stream())
    assert len(batches) == len(stream) == -(-7 // batch_size)
    assert [len(y) for _, y in batches[:-1]] == [batch_size] * (len(batches) - 1)
    for part, whole in zip(zip(*batches, strict=True), found.arrays(), strict=True):
        np.testing.assert_array_equal(np.concatenate(part), whole)


def test_many_pieces_come_in_their_order(tmp_path):
    for number in range(40):
        put(tmp_path / "a" / f"{number:02}.png", np.full((2, 2), number, np.uint8))
    x, _ = fnn.data.images(tmp_path, channels=1).arrays()
    np.testing.assert_array_equal(np.round(x[:, 0, 0, 0] * 255), np.arange(40))
    seen = np.concatenate([x for x, _ in fnn.data.images(tmp_path, channels=1).batches(33, key=KEY)()])
    assert sorted(np.round(seen[:, 0, 0, 0] * 255)) == list(range(40))


def test_an_epoch_is_a_function_of_the_key_and_its_number(folder):
    found = fnn.data.images(folder[0])

    def epoch(key, number):
        return np.concatenate([batch for batch, _ in found.batches(2, key=key)(number)])

    orders = {epoch(KEY, number).tobytes() for number in range(5)}
    assert len(orders) == 5
    stream = found.batches(2, key=KEY)
    list(stream(0))
    next(stream(1))  # looked into and left
    np.testing.assert_array_equal(np.concatenate([x for x, _ in stream(3)]), epoch(KEY, 3))
    assert epoch(jax.random.key(1), 0).tobytes() not in orders
    x, y = found.arrays()
    for images, labels in stream(2):
        for image, label in zip(images, labels, strict=True):
            assert y[[np.array_equal(image, one) for one in x].index(True)] == label


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_split_has_every_class_by_its_share_and_no_image_twice(fraction, tmp_path):
    sizes = {"few": 1, "more": 4, "most": 20}
    for name, count in sizes.items():
        for number in range(count):
            put(tmp_path / name / f"{number}.png", picture(2, 2))
    found = fnn.data.images(tmp_path)
    train, valid = found.split(fraction, key=KEY)
    assert {*train.paths} | {*valid.paths} == {*found.paths}
    assert not {*train.paths} & {*valid.paths}
    for number, count in enumerate(sizes[name] for name in found.classes):
        assert (valid.labels == number).sum() == min(round(fraction * count), count - 1)
    for part in (train, valid):
        assert [found.classes[label] for label in part.labels] == [path.parent.name for path in part.paths]
        assert list(part.paths) == sorted(part.paths)
    assert found.split(fraction, key=KEY)[1].paths == valid.paths
    assert found.split(0.5, key=jax.random.key(3))[1].paths != found.split(0.5, key=KEY)[1].paths


def test_a_split_of_nothing_is_an_error(folder):
    with pytest.raises(ValueError, match=r"split: 0.01 of 4 images of a class is less than one; give a larger"):
        fnn.data.images(folder[0]).split(0.01, key=KEY)
    with pytest.raises(ValueError, match=r"split: expected fraction in \(0, 1\)"):
        fnn.data.images(folder[0]).split(1.0, key=KEY)
    with pytest.raises(TypeError, match=r"split: expected a random key, got int; write jax.random.key"):
        fnn.data.images(folder[0]).split(0.5, key=3)
    with pytest.raises(TypeError, match=r"batches: expected a random key, got int"):
        fnn.data.images(folder[0]).batches(2, key=3)


def test_some_of_them_by_slice_numbers_and_mask(folder):
    found = fnn.data.images(folder[0])
    assert found[1::3].paths == found.paths[1::3]
    assert found[[4, 0]].labels.tolist() == [1, 0]
    assert found[found.labels == 1].paths == found.paths[3:]
    assert len(found[2]) == 1
    with pytest.raises(ValueError, match="at least one of 7 images"):
        found[[]]
    with pytest.raises(IndexError):
        found[[7]]


def test_without_a_size_the_first_file_that_differs_is_named(folder):
    place, _ = folder
    put(place / "b/1a.png", picture(4, 7))
    put(place / "b/z.png", picture(5, 7))
    message = r"b/1a.png is 4×7 \(height × width\), .*a/10.png is 4×6; write size=\(4, 6\)"
    with pytest.raises(ValueError, match=message):
        fnn.data.images(place)
    assert fnn.data.images(place, (4, 6)).arrays()[0].shape == (9, 4, 6, 3)


def test_a_file_that_changes_after_it_was_listed_is_named(folder):
    found = fnn.data.images(folder[0])
    put(folder[0] / "b/1.png", picture(9, 9))
    with pytest.raises(ValueError, match=r"b/1.png is 9×9 \(height × width\), and was 4×6"):
        found.arrays()


def test_an_image_covers_the_size_and_its_middle_is_kept(tmp_path):
    """A white square in the middle third of a wide image stays; its sides are cut away."""
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    wide[:, :5] = 99
    assert (fnn.data.read_image(put(tmp_path / "w.png", wide), 10, channels=1) == 1).all()
    assert fnn.data.read_image(tmp_path / "w.png", (5, 15), channels=1).shape == (5, 15, 1)
    assert fnn.data.read_image(tmp_path / "w.png", (20, 20), channels=1).min() > 0.7  # scaled up, its edge mixed


def test_scaling_down_averages_and_does_not_skip_pixels(tmp_path):
    """Stripes as fine as a pixel become gray."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = fnn.data.read_image(put(tmp_path / "s.png", stripes), 8, channels=1)
    np.testing.assert_allclose(small, 0.5, atol=0.07)


def test_a_large_jpeg_scaled_down_is_that_of_all_its_pixels(tmp_path):
    """It is decoded at a fraction of its size; beside averages over blocks of all pixels."""
    y, x = np.mgrid[:512, :768]
    smooth = np.stack([x / 3, y / 2, 128 + 100 * np.sin(x / 40 + y / 60)], axis=-1).astype(np.uint8)
    put(tmp_path / "s.jpg", smooth, quality=95)
    blocks = (smooth[:, 128:640] / 255).reshape(32, 16, 32, 16, 3).mean((1, 3))
    np.testing.assert_allclose(fnn.data.read_image(tmp_path / "s.jpg", 32), blocks, atol=0.02)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_as_its_exif_entry_says(orientation, suffix, tmp_path):
    upright = picture(3, 5, 1)
    # How a camera stores what is upright, for each of EXIF's eight orientations.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PIL.Exif()
    exif[0x0112] = orientation
    put(tmp_path / "a" / f"x.{suffix}", np.ascontiguousarray(stored), exif=exif)
    x, _ = fnn.data.images(tmp_path, channels=1).arrays()
    np.testing.assert_array_equal(np.round(x[0, ..., 0] * 255), upright)
    assert fnn.data.images(tmp_path).shape == (3, 5, 3)


def test_gray_and_colour_are_what_is_asked_for(tmp_path):
    gray, colour = picture(2, 2, 1), picture(2, 2, 3)
    put(tmp_path / "gray.png", gray)
    put(tmp_path / "colour.png", colour)
    PIL.fromarray(colour).convert("P").save(tmp_path / "palette.png")
    PIL.fromarray(gray > 127).save(tmp_path / "bits.png")
    read = fnn.data.read_image
    np.testing.assert_array_equal(read(tmp_path / "gray.png"), np.repeat(gray[..., None], 3, -1) / np.float32(255))
    luminance = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(255 * read(tmp_path / "colour.png", channels=1)[..., 0], luminance, atol=0.51)
    opaque = read(tmp_path / "colour.png", channels=4)
    np.testing.assert_array_equal(opaque[..., :3], read(tmp_path / "colour.png"))
    assert (opaque[..., 3] == 1).all()
    assert read(tmp_path / "palette.png").shape == (2, 2, 3)
    np.testing.assert_array_equal(read(tmp_path / "bits.png", channels=1)[..., 0], gray > 127)


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 255, 51
    put(tmp_path / "t.png", pixels)
    np.testing.assert_allclose(fnn.data.read_image(tmp_path / "t.png")[0, :, 0], [1, 0, 0.8], atol=1e-6)
    np.testing.assert_allclose(fnn.data.read_image(tmp_path / "t.png", channels=4)[0, :, 3], [0, 1, 0.2], atol=1e-6)
    palette = PIL.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=bytes([0, 255]))
    np.testing.assert_allclose(fnn.data.read_image(tmp_path / "p.png")[0] * 255, [[255] * 3, [10, 20, 30]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_numbers_of_more_than_8_bits_are_refused_and_not_cut(dtype, tmp_path):
    put(tmp_path / "deep.tif", np.array([[0, 300]], dtype))
    with pytest.raises(ValueError, match=r"read_image: .*deep.tif holds numbers of more than 8 bits \(mode"):
        fnn.data.read_image(tmp_path / "deep.tif", channels=1)


def chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


DEEP = {
    "colour.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0" + bytes([1, 255, 128, 255, 255, 255]))) + chunk(b"IEND", b""),
    "colour.ppm": b"P6 1 1 65535 " + bytes([1, 255, 128, 255, 255, 255]),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_colours_of_more_than_8_bits_are_refused_too(name, tmp_path):
    (tmp_path / name).write_bytes(DEEP[name])
    with pytest.raises(ValueError, match="holds numbers of more than 8 bits"):
        fnn.data.read_image(tmp_path / name)


def test_nothing_of_a_folder_changes(folder):
    found = fnn.data.images(folder[0], 4)
    with pytest.raises(ValueError, match="read-only"):
        found.labels[:] = 0
    assert isinstance(found.batches(2), fnn.data.ImageBatches)
    assert isinstance(found[:2], fnn.data.ImageFolder)
    with pytest.raises(ValueError, match="read-only"):
        found[:2].labels[:] = 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no name here")
def test_a_pipe_that_is_called_an_image_is_left_out(folder):
    os.mkfifo(folder[0] / "a" / "pipe.png")
    with pytest.warns(UserWarning, match="1 files are left out"):
        fnn.data.images(folder[0], 4)


@pytest.mark.parametrize("name", [1, "../cat", "/etc", ""])
def test_a_class_is_the_name_of_a_folder(folder, name):
    with pytest.raises(ValueError, match="expected classes to be names of folders"):
        fnn.data.images(folder[0], 4, classes=["a", "b", name])


def test_the_first_frame_is_read(tmp_path):
    frames = [PIL.fromarray(np.full((2, 2), value, np.uint8)) for value in (255, 0)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (fnn.data.read_image(tmp_path / "x.gif", channels=1) == 1).all()


def png_of(width, height):
    """The head of a PNG that says it is this large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 8) + b"IDAT" + bytes(12)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
@pytest.mark.parametrize("size", [None, 8])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side, size, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bomb.png").write_bytes(png_of(side, side))
    with pytest.raises(ValueError, match=r"images: .*bomb.png is too large to be trusted .*MAX_IMAGE_PIXELS"):
        fnn.data.images(tmp_path, size).arrays()


def whole_png():
    file = io.BytesIO()
    PIL.fromarray(picture(8, 8)).save(file, "png")
    return file.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"no image",
    "cut off": whole_png()[:-60],
    "cut in its head": whole_png()[:20],
    "page": b"<html><body>404 Not Found</body></html>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(%pipe%touch /tmp/executed) (w) file\n",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("size", [None, 4])
def test_a_damaged_or_foreign_file_is_named(name, size, folder):
    place, _ = folder
    (place / "b/1.png").write_bytes(FOREIGN[name])
    for read in (lambda found: found.arrays(), lambda found: list(found.batches(2, key=KEY)())):
        with pytest.raises(ValueError, match=r"images: .*b/1.png is damaged, cut off or no image: .*fetch it again"):
            read(fnn.data.images(place, size))


def test_of_several_damaged_files_the_first_in_the_order_is_named(folder):
    place, _ = folder
    found = fnn.data.images(place)
    for name in ("b/x.PNG", "a/9.png"):
        (place / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a/9.png is damaged"):
        found.arrays()
    (place / "a/10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a/10.png"):
        found.arrays()


def test_of_100_random_corruptions_each_is_named_or_has_the_shape_it_had(tmp_path):
    """A picture has no digest: bits that only change a colour are read; nothing else than the named error is raised."""
    rng, named, read = np.random.default_rng(0), 0, 0
    wholes = {}
    for kind in ("png", "jpeg", "gif", "bmp", "webp"):
        file = io.BytesIO()
        PIL.fromarray(picture(8, 8, rng=rng)).save(file, kind)
        wholes[kind] = file.getvalue()
    for number in range(100):
        kind, damaged = list(wholes)[number % 5], bytearray(wholes[list(wholes)[number % 5]])
        place = int(rng.integers(len(damaged)))
        if number % 2:
            damaged[place] ^= 1 << int(rng.integers(8))
        else:
            del damaged[place:]
        path = tmp_path / f"x.{kind}"
        path.write_bytes(damaged)
        try:
            read += fnn.data.read_image(path, 8).shape == (8, 8, 3)
        except ValueError as error:
            named += bool(re.match(r"read_image: .*/x\.\w+ (is damaged|is too large)", str(error)))
    assert named + read == 100
    assert named > 50


def test_a_directory_without_images_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fnn.data.images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no folders; put the images of each class into a folder of its name"):
        fnn.data.images(tmp_path)
    put(tmp_path / "x.png", picture())
    with pytest.raises(ValueError, match=r"has no folders; put the images of each class"):
        fnn.data.images(tmp_path)
    put(tmp_path / "cat" / "x.png", picture())
    (tmp_path / "dog").mkdir()
    with pytest.raises(
        ValueError, match=r"dog holds no image \(.*\.png.*\); remove the folder, or name all the classes"
    ):
        fnn.data.images(tmp_path)


def test_what_is_left_out_is_warned_of_and_what_is_hidden_is_not(folder):
    place, _ = folder
    put(place / ".ipynb_checkpoints" / "1.png", picture())
    put(place / "a" / ".ipynb_checkpoints" / "1.png", picture())
    (place / "a" / ".DS_Store").write_bytes(b"")
    (place / "readme.txt").write_text("of the directory")
    assert len(fnn.data.images(place)) == 7
    (place / "b" / "phone.heic").write_bytes(b"")
    put(place / "loose.png", picture())
    with pytest.warns(UserWarning, match=r"images: 2 files are left out, .*b/phone.heic first: no images by name, or"):
        assert len(fnn.data.images(place)) == 7


def test_classes_that_are_known_keep_their_numbers_where_some_are_missing(folder):
    place, _ = folder
    for name in (path.name for path in (place / "a").iterdir()):
        (place / "a" / name).unlink()
    (place / "a").rmdir()
    found = fnn.data.images(place, classes=["a", "b"])
    assert found.classes == ("a", "b")
    assert found.labels.tolist() == [1] * 4
    with pytest.raises(ValueError, match=r"images: expected the classes a, c, got the folder .*/b"):
        fnn.data.images(place, classes=["a", "c"])
    with pytest.raises(TypeError, match=r"expected classes to be a list of names, got 'b'; write \['b'\]"):
        fnn.data.images(place, classes="b")
    with pytest.raises(ValueError, match=r"expected every class once"):
        fnn.data.images(place, classes=["b", "b"])


def test_links_are_followed_and_a_circle_ends(folder, tmp_path_factory):
    place, _ = folder
    linked = tmp_path_factory.mktemp("linked")
    os.symlink(place / "a", linked / "c")
    os.symlink(linked, place / "a" / "round")
    assert len(fnn.data.images(linked)) == 3


def test_settings_that_are_none_are_named(folder):
    for size, message in (((4, 6, 3), "size to be"), (0, "height >= 1"), ((4, 2.5), "width to be a Python int")):
        with pytest.raises((ValueError, TypeError), match=message):
            fnn.data.images(folder[0], size)
    with pytest.raises(ValueError, match=r"channels to be one of 1, 3, 4, got 2"):
        fnn.data.images(folder[0], channels=2)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        fnn.data.images(folder[0]).batches(0)


def test_a_stream_that_is_left_ends_its_threads(folder):
    epoch = fnn.data.images(folder[0]).batches(1)()
    next(epoch)
    assert any(thread.name.startswith("fnn-images") for thread in threading.enumerate())
    epoch.close()
    assert not any(thread.name.startswith("fnn-images") for thread in threading.enumerate())


def test_without_pillow_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'fnn.data.images needs Pillow; run pip install "fnn\[images\]"'):
        fnn.data.images(folder[0])


@pytest.mark.parametrize("behind", [False, True])
def test_listing_decodes_no_png_but_one_with_something_behind_its_pixels(behind, tmp_path, monkeypatch):
    from PIL import PngImagePlugin

    exif, lies = PIL.Exif(), PIL.fromarray(picture(4, 6))
    exif[0x0112] = 6  # a quarter turn
    file = io.BytesIO()
    lies.save(file, "png")
    bytes_ = file.getvalue()
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    place = bytes_.index(b"IEND" if behind else b"IDAT") - 4
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(bytes_[:place] + turned + bytes_[place:])
    put(tmp_path / "a" / "y.png", picture(6, 4))
    decoded, load = [], PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: decoded.append(image) or load(image))
    assert fnn.data.images(tmp_path).shape == (6, 4, 3)
    assert bool(decoded) == behind
