"""The four providers' files, in their own layouts and formats, made of films that one has: for tests of a whole run.

`build` writes under one ``MEDGROUND_DATA_ROOT``: Chest ImaGenome on MIMIC-CXR-JPG (JPEG), VinDr-CXR (DICOM of 12 and
14 bit, MONOCHROME1 and 2, uncompressed, RLE and JPEG 2000), PadChest-GR (16-bit PNG) and NIH ChestX-ray14 (1024 x 1024
PNG, some of them RGBA, as there).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Film:
    """A gray film uint8 ``[h, w]``, its findings with expert boxes, and the box of each concept (ImaGenome only)."""

    image: np.ndarray
    findings: Mapping[str, Sequence[Box]] = field(default_factory=dict)
    anatomy: Mapping[str, Box] = field(default_factory=dict)


def build(root: Path, films: Sequence[Film]) -> Path:
    """Write all four providers' trees under ``root``; each takes every fourth film, ImaGenome the normal too."""
    ill = [film for film in films if film.findings]
    normal = [film for film in films if not film.findings]
    imagenome(root, ill[::4] + normal)
    vindr_cxr(root, ill[1::4])
    padchest_gr(root, ill[2::4])
    nih_cxr(root, ill[3::4])
    return root


def imagenome(root: Path, films: Sequence[Film]) -> None:
    """Each film is of another patient; a normal one has rows in which the report negates a finding."""
    gold = root / "chest-imagenome/1.0.0/gold_dataset"
    attributes, regions = [], []
    for number, film in enumerate(films):
        patient, study, image = 10000032 + 7 * number, 50414267 + number, _name(number)
        path = root / f"mimic-cxr-jpg/2.1.0/files/p{str(patient)[:2]}/p{patient}/s{study}/{image}.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(film.image).save(path, quality=95)
        said = [(name, "yes", box) for name, boxes in film.findings.items() for box in boxes]
        for name, context, box in said or [("pneumothorax", "no", (0, 0, *film.image.shape[::-1]))]:
            attributes.append(
                {
                    "patient_id": patient, "study_id": study, "image_id": f"{image}.dcm",
                    "row_id": f"{study}|{len(attributes)}", "sentence": "Seen, or not.", "bbox": "left lung",
                    "relation": 1, "label_name": name, "context": context, "categoryID": "anatomicalfinding",
                    "coord_original": str([float(edge) for edge in box]),
                }
            )  # fmt: skip
        height, width = film.image.shape
        for concept, (x1, y1, x2, y2) in film.anatomy.items():
            regions.append(
                {
                    "image_id": f"{image}.dcm", "x1": 0, "y1": 0, "x2": 1, "y2": 1, "bbox_name": concept,
                    "original_x1": x1, "original_x2": x2, "original_y1": y1, "original_y2": y2,
                    "original_width": width, "original_height": height,
                }
            )  # fmt: skip
    _write(gold / "gold_object_attribute_with_coordinates.txt", attributes, "\t")
    _write(gold / "gold_bbox_coordinate_annotations_1000images.csv", regions, ",")


def vindr_cxr(root: Path, films: Sequence[Film]) -> None:
    """DICOM in three encodings, two depths and both photometric interpretations, in turn; and a normal film."""
    rows = [dict.fromkeys(("x_min", "y_min", "x_max", "y_max")) | {"image_id": _name(-1), "class_name": "No finding"}]
    for number, film in enumerate(films):
        image = _name(number)
        dicom(root / f"vindr-cxr/1.0.0/test/{image}.dicom", film.image, number)
        rows += [
            {"image_id": image, "class_name": name, "x_min": box[0], "y_min": box[1], "x_max": box[2], "y_max": box[3]}
            for name, boxes in film.findings.items()
            for box in boxes
        ]
    _write(root / "vindr-cxr/1.0.0/annotations/annotations_test.csv", rows, ",")


def padchest_gr(root: Path, films: Sequence[Film]) -> None:
    """Boxes as shares of the film, half of them from the second reader; patients in the master table."""
    studies, master = [], []
    (root / "padchest-gr/PadChest_GR").mkdir(parents=True)
    for number, film in enumerate(films):
        study, image = f"2168401{number:020d}", f"{_name(number)}.png"
        Image.fromarray(film.image.astype(np.uint16) * 257).save(root / "padchest-gr/PadChest_GR" / image)
        height, width = film.image.shape
        findings = [{"sentence_en": "No effusion.", "sentence_es": "Sin derrame.", "abnormal": False}]
        for name, boxes in film.findings.items():
            shares = [[x1 / width, y1 / height, x2 / width, y2 / height] for x1, y1, x2, y2 in boxes]
            findings.append(
                {
                    "sentence_en": f"{name}.", "sentence_es": f"{name}.", "abnormal": True, "boxes": shares[::2],
                    "extra_boxes": shares[1::2], "labels": [name], "locations": [], "progression": None,
                }
            )  # fmt: skip
        studies.append({"StudyID": study, "ImageID": image, "findings": findings})
        master += [{"StudyID": study, "PatientID": f"pad{number // 2}", "split": "train", "label": name}
                   for name in film.findings]  # fmt: skip
    (root / "padchest-gr/grounded_reports_20240819.json").write_text(json.dumps(studies))
    _write(root / "padchest-gr/master_table.csv", master, ",")


def nih_cxr(root: Path, films: Sequence[Film]) -> None:
    """Films of 1024 x 1024, every third saved as RGBA; boxes as corner and size under the split header."""
    (root / "nih-cxr/images").mkdir(parents=True)
    lines = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    for number, film in enumerate(films):
        name = f"{number:08d}_000.png"
        picture = Image.fromarray(film.image).resize((1024, 1024))
        (picture.convert("RGBA") if number % 3 == 2 else picture).save(root / "nih-cxr/images" / name)
        scale = np.divide(1024, film.image.shape[::-1])
        for label, boxes in film.findings.items():
            for x1, y1, x2, y2 in boxes:
                corner, size = scale * (x1, y1), scale * (x2 - x1, y2 - y1)
                lines.append(",".join(map(str, (name, label, *corner, *size))) + ",,,")
    (root / "nih-cxr/BBox_List_2017.csv").write_text("\n".join(lines) + "\n")


def dicom(path: Path, image: np.ndarray, number: int) -> None:
    """Save a film as DICOM; ``number`` picks depth, photometric interpretation, window and encoding."""
    bits = (12, 14)[number % 2]
    inverted = number % 4 in (1, 2)
    shown = 255 - image if inverted else image
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.PixelRepresentation = 1, 16, 0
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.PixelData = np.rint(shown / 255 * (2**bits - 1)).astype(np.uint16).tobytes()
    encoding = (None, JPEG2000Lossless, RLELossless)[number % 3]
    if encoding:
        dataset.compress(encoding, encoding_plugin="pylibjpeg" if encoding == JPEG2000Lossless else "pydicom")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _name(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


def _write(path: Path, rows: Sequence[Mapping], delimiter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
