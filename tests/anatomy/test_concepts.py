import numpy as np
import pytest
from references import write_masks

from medground import records
from medground.anatomy import LocateTask, References, copies, overlap
from medground.errors import MedgroundError
from medground.geometry import box_of
from medground.images import write_film


@pytest.fixture
def repository(golden, tmp_path, monkeypatch):
    """Two references, and two films of which the first has two samples; the working directory."""
    monkeypatch.chdir(tmp_path)
    rows, samples = [], []
    for k in range(4):
        write_film(f"films/{k}.png", golden.films[k])
        masks = dict(zip(golden.concepts, golden.masks[k], strict=True))
        if k < 2:
            rows.append({"reference": f"r{k}", "film": f"films/{k}.png", "masks": write_masks(f"masks/{k}", masks)})
        else:
            anatomy = [{"concept": concept, "box": box_of(mask)} for concept, mask in masks.items()]
            sample = {"source": "s", "film": f"films/{k}.png", "width": 224, "height": 224, "anatomy": anatomy}
            samples += [{**sample, "index": 10 * k + finding} for finding in range(4 - k)]
    records.write_table(rows, records.REFERENCES, "references.parquet")
    return samples


@pytest.mark.parametrize("protocol", ["medground", "published"])
def test_rows_fit_the_table(repository, golden, protocol):
    rows = LocateTask("references.parquet", protocol)(repository)
    records.write_table(rows, records.CONCEPTS, "concepts.parquet")
    back = records.read_rows("concepts.parquet", records.CONCEPTS)
    assert [(r["index"], r["concept"]) for r in back] == [(s["index"], c) for s in repository for c in golden.concepts]
    of = {(row["index"], row["concept"]): row["box"] for row in back}
    assert all(of[20, concept] == of[21, concept] for concept in golden.concepts)  # one film
    assert LocateTask("references.parquet", protocol)(repository[2:]) == rows[2 * len(golden.concepts) :]


class Shrinker:
    """In place of a segmenter: takes a pixel off every side, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def refine(self, films, boxes, protocol="medground"):
        self.asked.append([film.shape for film in films])
        return [[(x1 + 1, y1 + 1, x2 - 1, y2 - 1) for x1, y1, x2, y2 in some] for some in boxes]


@pytest.mark.parametrize("protocol", ["medground", "published"])
def test_a_segmenter_sees_all_films_of_a_batch_at_once(repository, protocol, monkeypatch):
    plain = LocateTask("references.parquet", protocol)(repository)
    segmenter = Shrinker()
    monkeypatch.setattr("medground.grounding.segmenter.MedSAM.load", lambda where: segmenter)
    tight = LocateTask("references.parquet", protocol, segmenter="models/some-sam")(repository)
    assert segmenter.asked == [[(224, 224)] * 2]
    for before, after in zip(plain, tight, strict=True):
        (x1, y1, x2, y2), rest = before.pop("box"), after.pop("box")
        assert rest == (x1 + 1, y1 + 1, x2 - 1, y2 - 1) and before == after


def test_the_film_is_named(repository, tmp_path):
    write_film("films/black.png", np.zeros((224, 224), np.uint8))
    with pytest.raises(MedgroundError, match=r"films/black.png: a film has no contrast.*remove its samples"):
        LocateTask("references.parquet")([{**repository[0], "film": "films/black.png"}])


def test_copies_are_the_references_boxes(repository, golden):
    pool = References.read("references.parquet")
    one = copies(repository, pool, {("s", s["index"]): "r1" for s in repository})
    assert one[0]["box"] == box_of(golden.masks[1, 0]) and one[0]["concept"] == golden.concepts[0]
    mean = copies(repository, pool)
    expected = np.mean([box_of(golden.masks[k, 3]) for k in range(2)], axis=0)
    assert mean[3]["box"] == pytest.approx(tuple(expected))


def test_overlap_counts_each_film_once_and_misses_as_zero(repository):
    truth = [{"source": "s", "index": s["index"], **box} for s in repository for box in s["anatomy"]]
    assert set(overlap(repository, truth).values()) == {1.0}
    heart = "cardiac silhouette"
    missing = [row for row in truth if (row["index"], row["concept"]) != (30, heart)]
    fit = overlap(repository, missing)
    assert fit[heart] == 0.5 and fit["left lung"] == 1.0 and fit["mean"] == pytest.approx(1 - 0.5 / 11)
    assert overlap([{**s, "anatomy": None} for s in repository], truth) == {}
