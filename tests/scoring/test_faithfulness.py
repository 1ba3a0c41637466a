"""Deletion and insertion against closed forms, and against a known cause on the phantom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medground import params, records
from medground.attribution import faithfulness as module
from medground.attribution.faithfulness import Measure, measure
from medground.attribution.method import Attribution
from medground.geometry import Letterbox
from medground.images import write_film
from medground.lvlm.base import Text
from medground.scoring import tables as tables_module
from medground.scoring.entries import Entry
from medground.scoring.faithfulness import faithfulness, measured_cases, removed

REPOSITORY = Path(__file__).parents[2]
SIZE = 40
WHOLE = {"boxes": [(0, 0, SIZE, SIZE)]}


class Bright:
    """An answer of two tokens, whose probability is the share of its bright pixels that a film still shows."""

    def __init__(self, letterbox=None):
        self.frame = letterbox or Letterbox.stretch(SIZE, SIZE, SIZE, SIZE)
        self.films = 0

    def letterbox(self, width, height):
        return self.frame

    def canvas(self, films):
        return torch.from_numpy(np.stack([self.frame.apply(film) for film in films])).float() / 255

    def text(self, prompt, answer, width, height):
        return Text(torch.zeros(1, 5, dtype=int), torch.arange(2), torch.arange(3, 5), ["a", "b"])

    def log_probs(self, canvas, text):
        self.films += len(canvas)
        shown = (canvas > 0.99).sum((1, 2)) / CAUSE.sum()
        apart = torch.tensor([0.5, -0.5])  # the tokens differ; their geometric mean is what counts
        return torch.log(shown.clamp(min=1e-12))[:, None] + apart


CAUSE = np.zeros((SIZE, SIZE), bool)
CAUSE[10:20, 20:36] = True  # a tenth of the film
FILM = np.where(CAUSE, 255, 51).astype(np.uint8)
PERFECT = {"boxes": [(20, 10, 36, 20)]}
INVERSE = {"grid": (~CAUSE).astype(np.float32).ravel(), "grid_height": SIZE, "grid_width": SIZE, "extent": None}


NORMAL = np.full((SIZE, SIZE), 51, np.uint8)


def measured(lvlm, attributions, steps, film=FILM, normal=NORMAL, **more):
    ask = module.asking(lvlm, film, lambda: normal, "?", "Yes.")
    return faithfulness(ask, lvlm.letterbox(film.shape[1], film.shape[0]), attributions, steps, **more)


def scores(*attributions, steps=10, **more):
    return measured(Bright(), attributions, steps, **more)


def test_the_cause_goes_first_and_last():
    """The cause is a tenth of the film, as is a step: deletion falls from 1 to 0 in the first step, or in the last."""
    perfect, inverse = scores(PERFECT, INVERSE)
    assert perfect["deletion"] == pytest.approx(0.05) and perfect["insertion"] == pytest.approx(0.95)
    assert inverse["deletion"] == pytest.approx(0.95) and inverse["insertion"] == pytest.approx(0.05)
    assert perfect["problem"] is None and inverse["problem"] is None


def test_half_a_step_is_half_gone():
    """With five steps the first takes the cause and as much besides; a map of half the cause takes all in two."""
    (perfect,) = scores(PERFECT, steps=5)
    assert perfect["deletion"] == pytest.approx(0.1) and perfect["insertion"] == pytest.approx(0.9)
    (half,) = scores({"boxes": [(20, 10, 36, 15)]}, steps=20)  # the other half goes in proportion to what is left
    left = [1, 0.5, *(0.5 * (1 - step / 19) for step in range(1, 20))]
    assert half["deletion"] == pytest.approx(np.trapezoid(left, dx=1 / 20), abs=0.03)


def test_what_knows_nothing_takes_the_cause_in_proportion():
    (whole,) = scores(WHOLE)
    assert whole["deletion"] == pytest.approx(0.5, abs=0.06) and whole["insertion"] == pytest.approx(0.5, abs=0.06)
    assert scores(WHOLE) == [whole] != scores(WHOLE, seed=1)


def test_ties_favour_no_side():
    everything = np.ones((SIZE, SIZE), bool)
    gone = np.mean([removed(np.zeros((SIZE, SIZE)), everything, 4, seed) for seed in range(30)], axis=0)
    for step, share in enumerate((0.25, 0.5, 0.75)):
        quarters = gone[step].reshape(2, SIZE // 2, 2, SIZE // 2).mean((1, 3))
        assert np.allclose(quarters, share, atol=0.02)


def test_steps_are_equal_and_nested_hottest_first():
    heat = np.random.default_rng(0).random((SIZE, SIZE))
    on_film = np.zeros((SIZE, SIZE), bool)
    on_film[:, 5:35] = True
    gone = removed(heat, on_film, 6)
    assert gone.sum((1, 2)).tolist() == [200, 400, 600, 800, 1000] and not (gone & ~on_film).any()
    assert all((gone[n + 1] | gone[n] == gone[n + 1]).all() for n in range(4))
    assert heat[gone[0]].min() >= heat[on_film & ~gone[0]].max()


def test_padding_is_neither_taken_nor_counted():
    """On a canvas twice as high as the film the areas stay what they are."""
    padded = Letterbox(SIZE, SIZE, SIZE, 2 * SIZE, 1.0, 1.0, 0.0, 20.0)
    found = measured(Bright(padded), [PERFECT, INVERSE], 10)
    assert [row["deletion"] for row in found] == pytest.approx([0.05, 0.95])


@pytest.mark.parametrize(
    ("attribution", "problem"),
    [
        (None, "missing"),
        ({"boxes": []}, "neither a grid nor boxes"),
        ({**INVERSE, "grid": np.full(SIZE * SIZE, 2.0)}, "no contrast"),
        ({**INVERSE, "grid": np.full(SIZE * SIZE, np.nan)}, "NaN"),
        ({"boxes": [(90, 90, 95, 95)]}, "no box has area"),
    ],
)
def test_what_cannot_be_drawn_scores_the_worst_value(attribution, problem):
    (alone,) = scores(attribution)
    assert (alone["deletion"], alone["insertion"]) == (1.0, 0.0) and problem in alone["problem"]
    first, beside = scores(attribution, PERFECT)
    assert first == alone and beside == scores(PERFECT)[0]


def test_maps_share_what_does_not_depend_on_them():
    lvlm = Bright()
    measured(lvlm, [PERFECT, INVERSE, None], 10)
    assert lvlm.films == 2 + 2 * 2 * 9 - 2  # one map's first tenth is the other's last, taken away and put back


def test_cases_are_honest_of_one_split_and_spread_over_models_and_modes():
    cases = [
        {"case_id": f"{model}/{mode}/{n}", "model": model, "mode": mode, "split": ("dev", "test")[n % 2],
         "control": "shortcut" if n % 5 == 0 else "honest"}
        for model in "ab" for mode in ("direct", "reasoning") for n in range(20)
    ]  # fmt: skip
    chosen = measured_cases(cases, 3)
    assert len(chosen) == 12 and chosen == [case for case in cases if case in chosen]
    assert {(case["split"], case["control"]) for case in chosen} == {("test", "honest")}
    assert len({(case["model"], case["mode"]) for case in chosen}) == 4
    assert measured_cases(cases, 3) == chosen != measured_cases(cases, 3, seed=1)
    without = [case for case in cases if case["model"] == "a"]
    assert measured_cases(without, 3) == [case for case in chosen if case["model"] == "a"]
    assert measured_cases(cases, 0) == [] and len(measured_cases(cases, 99, split="dev")) == 4 * 8


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Three cases of one film, the tables of two entries, and the parameters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_loaded", lambda name, most_pixels: Bright())
    monkeypatch.setattr(module, "revision", lambda name: "1")
    monkeypatch.setattr(Measure, "_normal", SimpleNamespace(draw=lambda film: NORMAL))
    write_film(tmp_path / "film.png", FILM)
    common = {"model": "m", "mode": "direct", "split": "test", "control": "honest", "film": "film.png", "regions": [],
              "width": SIZE, "height": SIZE, "question": "?", "answer": "Yes."}  # fmt: skip
    cases = [{**common, "case_id": f"m/direct/s/{n}"} for n in range(3)]
    tables = {}
    for name, ids in (("good", (0, 1, 2)), ("gaps", (0, 1, 1))):
        rows = [Attribution(cases[n]["case_id"], boxes=PERFECT["boxes"]).row() for n in ids]
        tables[name] = tmp_path / f"{name}.parquet"
        records.write_table(rows, records.ATTRIBUTIONS, tables[name])
    entries = [Entry(name, "method", (table,)) for name, table in tables.items()]
    p = params.load(REPOSITORY / "profiles/phantom.yaml")
    p.engine, p.faithfulness = (
        SimpleNamespace(name="local", workers=1, batch_size=8, idle=0),
        SimpleNamespace(cases=9, steps=10),
    )
    return SimpleNamespace(cases=cases, entries=entries, params=p, out=tmp_path / "out.parquet")


def test_a_table_of_every_case_and_entry(bench):
    measure(bench.entries, bench.cases, bench.params, bench.out)
    rows = records.read_rows(bench.out, records.FAITHFULNESS)
    assert [(row["entry"], row["case_id"][-1]) for row in rows] == [
        ("good", "0"), ("good", "1"), ("good", "2"), ("gaps", "0"), ("gaps", "1"), ("gaps", "2"),
    ]  # fmt: skip
    assert [row["problem"] for row in rows] == [None, None, None, None, "given more than once", "missing"]
    assert all((row["deletion"], row["insertion"]) == pytest.approx((0.05, 0.95)) for row in rows if not row["problem"])
    assert all((row["deletion"], row["insertion"]) == (1, 0) for row in rows if row["problem"])


def test_an_interrupted_run_goes_on(bench, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    asked, call = [], Measure.__call__

    def dies_at(number):
        def work(self, cases):
            asked.append(cases[0][0][:2] + cases[0][1]["case_id"][-1])
            if len(asked) == number:
                raise KeyboardInterrupt
            return call(self, cases)

        return work

    monkeypatch.setattr(Measure, "__call__", dies_at(3))
    with pytest.raises(KeyboardInterrupt):
        measure(bench.entries, bench.cases, bench.params, bench.out)
    monkeypatch.setattr(Measure, "__call__", dies_at(0))
    measure(bench.entries, bench.cases, bench.params, bench.out)
    assert asked == ["go0", "ga0", "go1", "go1", "ga1", "go2", "ga2"]  # an interruption costs the batch that it hit
    assert len(records.read_rows(bench.out, records.FAITHFULNESS)) == 6


def test_another_entry_costs_only_itself(bench, monkeypatch):
    asked, call = [], Measure.__call__
    monkeypatch.setattr(Measure, "__call__", lambda self, jobs: asked.append(jobs[0][0]) or call(self, jobs))
    measure(bench.entries[:1], bench.cases, bench.params, bench.out)
    measure(bench.entries, bench.cases, bench.params, bench.out)
    assert asked == ["good", "gaps"]


def test_a_table_is_read_once_and_a_batch_decodes_its_own_rows_alone(bench, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1)
    taken, read, take = [], [], module.take_attributions
    monkeypatch.setattr(module, "take_attributions", lambda *a: taken.append(a[0].name) or take(*a))
    rows = tables_module._rows
    monkeypatch.setattr(tables_module, "_rows", lambda batch: read.append(len(batch)) or rows(batch))
    measure(bench.entries, bench.cases, bench.params, bench.out)
    assert taken == ["good.parquet", "gaps.parquet"]
    assert sum(read) == 6  # each of the six rows once, whatever the batches
    assert not [path for path in Path(".progress/faithfulness").iterdir() if path.is_dir()]  # nothing is left of it


def test_the_stage_leaves_torch_to_its_workers():
    """A worker that imports it before its share of the cores is set runs on all of them, against the others."""
    code = "import sys, stages.faithfulness; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_none_are_measured_where_none_are_wanted(bench):
    bench.params.faithfulness.cases = 0
    measure(bench.entries, bench.cases, bench.params, bench.out)
    assert records.read_rows(bench.out, records.FAITHFULNESS) == []


MODEL = REPOSITORY / "models/phantom-gemma3"


@pytest.mark.slow
@pytest.mark.skipif(not MODEL.is_dir(), reason="no phantom model in models/")
def test_the_known_cause_of_a_phantoms_answer_beats_its_opposite(ct_folder):
    """The cause is where a film differs from its healthy twin."""
    from medground.lvlm import load_lvlm, prompts
    from medground.phantom import FINDINGS, Phantom

    lvlm = load_lvlm(str(MODEL), device="cpu")
    phantom = Phantom.open(ct_folder, REPOSITORY / ".cache" / "phantom")
    found = []
    for number, finding in enumerate(FINDINGS):
        film = phantom.patient(900 + number).film([finding], seed=number)
        prompt = prompts.prompt(f"Is there evidence of {finding} in the image?", "direct")
        answer = lvlm.answer([film.image], [prompt])[0]
        if answer.verdict == "yes":
            cause = film.lesions[finding]
            shape = {"grid_height": cause.shape[0], "grid_width": cause.shape[1], "extent": None}
            maps = [{**shape, "grid": inside.astype(np.float32).ravel()} for inside in (cause, ~cause)]
            ask = module.asking(lvlm, film.image, lambda twin=film.twin: twin, prompt, answer.text)
            found.append(faithfulness(ask, lvlm.letterbox(*film.image.shape[::-1]), maps, 8))
    assert len(found) >= 3
    of_cause, of_opposite = (np.mean([[row[n]["deletion"], row[n]["insertion"]] for row in found], 0) for n in (0, 1))
    assert of_cause[0] < of_opposite[0] - 0.1 and of_cause[1] > of_opposite[1] + 0.1
