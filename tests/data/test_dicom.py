"""DICOM files: grey values by the file's own window, and what is no picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seewhy.data.finding import find_images
from seewhy.data.images import ImageError, load_image
from seewhy.notes import Note

pydicom = pytest.importorskip("pydicom", reason="seewhy[dicom] is not installed")


def dicom(values: np.ndarray, kind: str = "MONOCHROME2", **fields: object) -> bytes:
    """A DICOM file of grey values (H, W) or colours (H, W, 3), uncompressed."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = pydicom.Dataset()
    data.file_meta = meta
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = kind
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in fields.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    stream = BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def shown(data: bytes, **options: object) -> list[int]:
    return np.asarray(load_image(data, **options))[0, :, 0].tolist()  # type: ignore[arg-type]


VALUES = np.array([[0, 1000, 1500, 1999, 4000]], dtype=np.uint16)
WINDOW = {"WindowCenter": 1500, "WindowWidth": 1000}  # 1000 is black and 1999 white, says PS3.3


def test_the_files_own_window() -> None:
    assert shown(dicom(VALUES, **WINDOW)) == [0, 0, 128, 255, 255]
    several = {"WindowCenter": [1500, 40], "WindowWidth": [1000, 80]}
    assert shown(dicom(VALUES, **several)) == [0, 0, 128, 255, 255]
    assert shown(dicom(VALUES, "MONOCHROME1", **WINDOW)) == [255, 255, 127, 0, 0]
    exact = shown(dicom(VALUES, **WINDOW, VOILUTFunction="LINEAR_EXACT"))
    assert exact == [0, 0, 128, 255, 255]
    threshold = {"WindowCenter": 1500, "WindowWidth": 1}
    assert shown(dicom(VALUES, **threshold)) == [0, 0, 255, 255, 255]


def test_a_sigmoid_window() -> None:
    """PS3.3 C.11.2.1.3.1; it was shown as a linear one."""
    file = dicom(VALUES, **WINDOW, VOILUTFunction="SIGMOID")
    expected = np.rint(255 / (1 + np.exp(-4 * (VALUES[0] - 1500.0) / 1000)))
    assert shown(file) == expected.tolist() == [1, 30, 128, 224, 255]
    assert shown(file, window=(1000, 1999)) == [0, 0, 128, 255, 255]


def test_the_window_counts_rescaled_values() -> None:
    hounsfield = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    window = {"WindowCenter": 2000, "WindowWidth": 2001}  # 999.5 to 2999.5
    assert shown(dicom(VALUES, **hounsfield, **window)) == [0, 0, 128, 255, 255]


def test_without_a_window_the_real_range_is_shown_and_said() -> None:
    with pytest.warns(Note, match="0 .* to 4000"):
        assert shown(dicom(VALUES)) == [0, 64, 96, 127, 255]
    assert shown(dicom(VALUES), window=(1000, 2000)) == [0, 0, 128, 255, 255]
    assert shown(dicom(VALUES, **WINDOW), window=(0, 4000)) == [0, 64, 96, 127, 255]


def test_colours_are_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    data = dicom(pixels, "RGB")
    assert np.array_equal(np.asarray(load_image(data)), pixels)
    with pytest.raises(ImageError, match="has colours"):
        load_image(data, window=(0, 9))


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(VALUES, **WINDOW))
    (tmp_path / "no-suffix").write_bytes(dicom(VALUES, **WINDOW))
    assert find_images(tmp_path) == [tmp_path / "a.dcm"]
    for name in ("a.dcm", "no-suffix"):
        assert load_image(tmp_path / name).size == (5, 1)
    large = dicom(np.zeros((60, 50), np.uint16), **WINDOW)
    with pytest.raises(ImageError, match="50x60 pixels; at most 100"):
        load_image(large, max_pixels=100)
    with pytest.warns(Note, match="shrunk"):
        assert load_image(large, shrink=750).size == (25, 30)


def test_what_holds_no_picture_is_named() -> None:
    report = pydicom.dcmread(BytesIO(dicom(VALUES)))
    del report.PixelData
    stream = BytesIO()
    report.save_as(stream)
    with pytest.raises(ImageError, match="bytes: a DICOM file without a picture"):
        load_image(stream.getvalue())
    with pytest.raises(ImageError, match="cannot be decoded"):
        load_image(dicom(VALUES)[:-4])


def test_deflated_files_are_refused_before_they_grow() -> None:
    values = dicom(VALUES)
    assert values.count(b"1.2.840.10008.1.2.1\0") == 1
    deflated = values.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    with pytest.raises(ImageError, match="deflated"):
        load_image(deflated)


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(VALUES)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ImageError, match=r'pip install "seewhy\[dicom\]"'):
        load_image(data)


def test_a_stream_is_read_from_where_it_is() -> None:
    stream = BytesIO(b"before" + dicom(VALUES, **WINDOW))
    stream.seek(6)
    assert load_image(stream).size == (5, 1)
    assert isinstance(load_image(BytesIO(dicom(VALUES, **WINDOW))), Image.Image)
