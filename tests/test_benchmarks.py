"""The benchmarks run at small sizes, and count what they say they count. No time is asserted."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import anatomy, corrections, cost, demo, entry, flops, gpu, growth, medfocus, peers, speed, true_sizes
from medground import films, params, records
from medground.attribution import Item, entries, method
from medground.attribution.candidates import CONCEPTS
from medground.errors import MedgroundError
from medground.scoring import boxes_from_heatmap

ROOT = Path(__file__).parents[1]
SHORT = {"cells": 2, "masks": 3, "steps": 2}
#: As the published checkpoints' own files say.
PARAMETERS = {
    "qwen2_5_vl_3b": 3_754_622_976,
    "qwen2_5_vl_7b": 8_292_166_656,
    "gemma3_4b": 4_300_079_472,
    "gemma3_12b": 12_187_325_040,
}


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)


def test_speed_prints_a_row_for_every_comparison(capsys):
    small = {"films": 1, "cells": 2, "steps": 2, "shares": 3, "references": 2, "maps": 2, "repeats": 1}
    speed.main([word for name, value in small.items() for word in (f"--{name}", str(value))])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 10 and all(float(row[4]) > 0 for row in rows)
    assert all(row[5].endswith(" MB") and row[6].endswith(" MB") for row in rows if sys.platform == "linux")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_is_what_a_way_holds_at_most_at_once():
    small, large = np.zeros(10), 10_000_000  # float64: 80 MB
    for way in (lambda: [np.ones(large)], lambda: [np.ones(large).sum() * small, np.ones(large).sum() * small]):
        assert float(speed.peak(way).removesuffix(" MB")) == pytest.approx(80, abs=4)
    assert float(speed.peak(lambda: [small]).removesuffix(" MB")) < 4


def test_an_entry_is_valid_and_every_case_scored(capsys):
    entry.main(["--cases", "5", "--sides", "6", "14"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 6 x 6", "| 14 x 14"]
    assert all(re.fullmatch(r"\d+\.\d s, \d+\.\d s", cell) for row in rows for cell in row.strip(" |").split(" | ")[2:])


def test_speed_refuses_ways_that_disagree():
    with pytest.raises(AssertionError, match="differ by"):
        speed.row("work", "model", lambda: [np.zeros(3)], lambda: [np.full(3, 0.01)], 1)


def test_flood_fill_is_the_papers_rule():
    golden = json.loads((ROOT / "tests/data/heatmap_boxes.json").read_text())[:4]
    with np.load(ROOT / "tests/data/heatmap_boxes.npz") as maps:
        for row in golden:
            assert speed.flood_fill(maps[row["map"]]) == [tuple(map(float, box)) for box in row["boxes"]]
    heat = np.zeros((40, 40))
    heat[:5, :5], heat[20:30, 20:30] = 1, 1
    assert speed.flood_fill(heat) == boxes_from_heatmap(heat, "published") == [(0, 0, 4, 4), (20, 20, 29, 29)]


def test_plain_transfer_equals_ours():
    told = json.loads((ROOT / "tests/data/uot.json").read_text())
    with np.load(ROOT / "tests/data/uot.npz") as stored:
        films, masks = stored["images"], np.unpackbits(stored["masks"], axis=-1).astype(bool)
    pair = told["pairs"][0]
    job = films[pair["source"]], masks[pair["source"]], films[pair["target"]]
    assert anatomy.plain_transfer(*job, anatomy.scaling) == anatomy.published.transfer(*job)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3_4b", "qwen2_5_vl_3b"])
def test_flops_are_those_of_the_methods_themselves(name):
    """Counted on shapes alone, piece by piece, against torch's counter around the whole method on a small model."""
    lvlm, question, answer = true_sizes.lvlm(name, "cpu", small=True), "Is there evidence of mass?", "The lung. Yes."
    item = gpu.Bench("cpu", True, 1, 1)._item(0, question, answer)
    assert len(item.concepts) == CONCEPTS
    sizes = flops.prompt_tokens(name, question, small=True), len(lvlm.tokenizer(answer).input_ids)
    published = [known for known in entries().values() if known.protocol == "published"]  # another film, another text
    asked = [known for known in entries().values() if "model" in known.needs and known.group != "prompting"]
    asked = [known for known in asked if known not in published]
    for known in asked:
        known = known.with_settings(**{key: value for key, value in SHORT.items() if key in known.settings})
        expected = flops.case_flops(known, name, *sizes, small=True)
        counted = flops.counted(lambda known=known: known.attribute(lvlm, [item]))
        forwards = known.attribute(lvlm, [item])[0].forwards
        if known.entry == "medfocus":  # how far it searches depends on the case: what it declares is the most
            assert 0 < counted <= expected and 0 < forwards <= sum(known.passes.values())
            continue
        own = 0.01 if known.entry == "rollout" else 0  # products of attentions
        assert counted == pytest.approx(expected, rel=own), known.entry
        assert sum(known.passes.values()) == forwards


@pytest.mark.parametrize("name", PARAMETERS)
def test_true_sizes_have_the_published_number_of_parameters(name):
    model = true_sizes.lvlm(name, "meta").model
    assert sum(weights.numel() for weights in model.parameters()) == PARAMETERS[name]


def test_true_grids_of_a_radiograph():
    height, width = true_sizes.FILM
    assert true_sizes.lvlm("gemma3_4b", "meta").grid(width, height) == (16, 16)
    rows, columns = true_sizes.lvlm("qwen2_5_vl_3b", "meta").grid(width, height)
    assert rows * columns * 28 * 28 <= 512 * 512 < (rows + 1) * (columns + 1) * 28 * 28


def test_counts_grow_with_the_films():
    study, double = (cost.Study(samples, params.load(ROOT / "profiles/paper.yaml")) for samples in (700, 1400))
    assert study.kept_steps == 140 and study.unet_passes == 700 * 980 and study.answers == 700 * 4
    once, twice = cost.counted(study), cost.counted(double)
    assert once.keys() == twice.keys()
    for row, values in once.items():
        assert np.allclose(np.multiply(values, 2), twice[row]), row
    occlusion = next(values for row, values in once.items() if row.startswith("occlusion"))
    assert occlusion[0] == pytest.approx(65 * 0.015 * 700 * 12)


def test_the_released_study_has_the_released_cases():
    whole = cost.Study(sum(cost.SAMPLES.values()), params.load(ROOT / "profiles/paper.yaml"))
    cases = whole.cases(None)
    assert sum(cases.values()) == pytest.approx(1880 + 2060) and cases["gemma3_12b", "direct"] == pytest.approx(282)


@pytest.mark.parametrize("name", ["gemma3_4b", "qwen2_5_vl_3b"])
def test_vision_flops_are_those_of_looking_at_a_film(name):
    lvlm = true_sizes.lvlm(name, "cpu", small=True)
    film = lvlm.letterbox(*true_sizes.FILM[::-1]).apply(np.zeros(true_sizes.FILM, np.uint8))
    pixels = lvlm.pixel_inputs(lvlm._gray([film]))
    with torch.no_grad():
        seen = flops.counted(lambda: lvlm._look([pixels]))
    assert flops.vision_flops(name, small=True) == seen > 0


def test_both_modes_look_at_a_film_once(monkeypatch):
    monkeypatch.setattr(cost, "_one_answer", lambda model, mode: {"direct": 10, "reasoning": 30}[mode])
    monkeypatch.setattr(flops, "vision_flops", lambda name: 4)
    settings = params.load(ROOT / "profiles/paper.yaml")
    settings.models, settings.modes = ["gemma3_4b", "medgemma_4b"], ["direct", "reasoning"]
    asked = 2 * 100 * (1 + 3 * settings.verify.seeds)  # films of both models
    assert cost.answer_flops(cost.Study(100, settings)) == asked * (10 + 30 - 4)
    settings.modes = ["reasoning"]
    assert cost.answer_flops(cost.Study(100, settings)) == asked * 30


def test_gpu_needs_a_gpu_or_small(capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "no CUDA device" in capsys.readouterr().err


def test_gpu_runs_small_and_its_rates_give_the_cost(tmp_path, capsys):
    rates = tmp_path / "rates.json"
    chosen = ["medfocus", "gradcam", "prompting", "prompting_medsam"]
    gpu.main(
        ["--small", "--models", "gemma3_4b", "--methods", *chosen, "--cases", "1", "--tokens", "3", "--steps", "4",
         "--rates", str(rates)]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("| gemma3_4b |") == 2 * 4 and "RadEdit" in out and "edited films a second" in out
    told = json.loads(rates.read_text())
    assert told["edit"] > 0 and told["cases"]["gemma3_4b"]["reasoning"]["gradcam"] > 0
    settings = params.load(ROOT / "profiles/paper.yaml")
    settings.models, settings.methods = ["gemma3_4b", "medgemma_4b"], ["gradcam", "prompting"]
    hours = cost.timed(cost.Study(1000, settings), told)
    gradcam = sum(told["cases"]["gemma3_4b"][mode]["gradcam"] for mode in settings.modes)
    assert hours["gradcam"][0] == pytest.approx(0.015 * 1000 * 2 * gradcam / 3600)
    assert hours["edit"][0] == pytest.approx(3000 * told["edit"] / 3600)
    assert all(math.isfinite(value) for row in hours.values() for value in row)
    settings.methods = ["occlusion"]
    with pytest.raises(MedgroundError, match="nothing about 'occlusion'"):
        cost.timed(cost.Study(1000, settings), told)


def test_every_method_has_a_cost():
    item = Item("c", np.zeros((4, 4), np.uint8), "q", "a")
    for name, known in entries().items():
        assert bool(known.passes) == ("model" in known.needs), name
    assert not method("whole_film").attribute(None, [item])[0].forwards


def test_a_pair_is_followed_where_both_cases_are_and_counts_where_both_are_there():
    def outcome(pair, follows):
        case = medfocus.Case({"pair": pair}, Item("c", np.zeros((1, 1), np.uint8), "q", "a"), None, [], None, None)
        return medfocus.Outcome(case, "anatomy", 1.0, follows, 1.0, 0.0, 1)

    told = [("a", 1.0), ("b", 1.0), (None, math.nan), ("b", 0.0), ("c", 1.0), ("a", 1.0)]
    assert [one.follows for one in medfocus.pairs([outcome(*one) for one in told])] == [1.0, 0.0]


@pytest.mark.slow
def test_peers_say_the_same_and_absent_ones_are_named(monkeypatch, capsys):
    """Each row asserts equal results; what is not installed here has a row that says so."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(films, "STORE", films.STORE)
    monkeypatch.setattr(peers, "MODELS", peers.MODELS[:1])
    here = importlib.util.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "cc3d" else here(name))
    peers.main(["--repeats", "1", "--maps", "2", "--cases", "400"])
    rows = capsys.readouterr().out.splitlines()[2:]
    said = {row.split(",")[0].removeprefix("| "): row for row in rows}
    assert len(rows) == len(said) == 7 and "not installed" in said["map to boxes"]
    for work in (
        "occlusion",
        "integrated gradients",
        "paired intervals over patients",
        "a JPEG 2000 film of 2544 x 3056",
    ):
        assert said[work].count(" ms |") == 2


@pytest.mark.slow
def test_made_up_tables_are_such_as_the_stages_read(tmp_path):
    """And the share of verified cases is the one that was meant."""
    growth.make(tmp_path, 300)
    for stage in ("verify", "score"):
        assert "failed" not in growth.run(stage, tmp_path, growth.ROOT)
    kept = [case["kept"] for case in records.read_rows(tmp_path / "data/cases/cases.parquet", records.CASES)]
    assert len(kept) == 600 and sum(kept) / 600 == pytest.approx(growth.RIGHT * growth.PASSES**3, abs=0.04)


def test_corrections_are_measured_on_test_cases_of_every_model_and_on_whole_pairs():
    def case(number, model, split, control="honest", pair=None):
        about = {
            "model": model,
            "mode": "direct",
            "finding": "mass",
            "source": "s",
            "split": split,
            "kept": pair is None,
        }
        return {"case_id": f"{model}/{split}/{number}", "control": control, "pair": pair, **about}

    cases = [case(k, model, split) for model in "ab" for split in ("dev", "test") for k in range(10)]
    cases += [case(10 + k, model, split, control, f"{split}{k}") for k in range(3) for split in ("dev", "test")
              for model, control in (("a", "honest"), ("b", "shortcut"))]  # fmt: skip
    chosen = corrections.chosen_cases(cases, 4, 2)
    assert {one["split"] for one in chosen} == {"test"}
    assert sorted(one["pair"] for one in chosen if one["pair"]) == ["test0", "test0", "test1", "test1"]
    localised = [one["model"] for one in chosen if not one["pair"]]
    assert localised.count("a") == localised.count("b") == 4
    assert chosen == sorted(chosen, key=cases.index) and len(chosen) == 12


def test_what_a_correction_moves_is_told_with_its_interval():
    before, after, patients = np.zeros(50), np.tile([0.2, 0.4], 25), [f"p{k}" for k in range(50)]
    difference, low, high = map(float, re.findall(r"[+-]\d\.\d+", corrections.moved(before, after, patients)))
    assert difference == 0.3 and 0.25 < low < 0.29 and 0.31 < high < 0.35  # 0.3 +- 2 x 0.1 / sqrt(50)


TRANSCRIPT = """\
WARNING: a cache is old
Stage 'code' didn't change, skipping
Running stage 'ingest@phantom_causes_region':
> python -m stages.ingest --source phantom_causes_region
 "samples": 115, "note": "Running stage 'rank': is no line of its own"
Running stage 'ingest@phantom_causes_lesion':
> python -m stages.ingest --source phantom_causes_lesion

Stage 'answer@a' didn't change, skipping
Stage 'answer@b' is cached - skipping run, checking out outputs
Running stage 'answer@c':
> python -m stages.answer --model c
Updating lock file 'dvc.lock'
"""


def test_time_between_two_stages_is_of_the_first_and_a_matrix_is_one_row():
    clock = {"seconds": 0.0}

    def lines():
        for number, line in enumerate(TRANSCRIPT.splitlines(keepends=True)):
            clock["seconds"] += 2**number  # no two stages can be mistaken
            yield line

    stages = demo.stamped(lines(), lambda: clock["seconds"])
    seconds = [stage.seconds for stage in stages]
    # lines 1, 2, 5, 8, 9 and 10 name a stage, which happens at 2^(n + 1) - 1 seconds; the last line is the 13th
    named = [0, 3, 7, 63, 511, 1023, 2047, 8191]
    assert seconds == list(np.diff(named))
    assert [stage.how for stage in stages[1:]] == [
        "up to date",
        "ran",
        "ran",
        "up to date",
        "from the run cache",
        "ran",
    ]
    rows = [row.strip("|").split("|") for row in demo.table(stages).splitlines()[2:]]
    rows = [[cell.strip() for cell in row] for row in rows]
    assert [row[:3] for row in rows] == [
        ["before the first stage", "", "3.0"],
        ["code", "up to date", "4.0"],
        ["ingest", "2", "504.0"],
        ["answer", "1, 1 up to date, 1 from the run cache", "7680.0"],
        ["**all**", "", "8191.0"],
    ]
    assert rows[3][3] == "93.8%" and sum(float(row[3].rstrip("%")) for row in rows[:-1]) == pytest.approx(100, abs=0.2)


def test_a_pipeline_is_timed_while_it_speaks_and_its_failure_is_told(tmp_path, capfd):
    """A pipeline of two stages, the second of which fails: real dvc, made in a folder without git."""
    import subprocess

    wait = f'{sys.executable} -c \'import time; time.sleep(0.5); open("made", "w").write("1")\''
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    stages = {"slow": {"cmd": wait, "outs": ["made"]}, "bad": {"cmd": "exit 3", "deps": ["made"]}}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    assert demo.main([str(tmp_path)]) != 0
    said = capfd.readouterr().out
    rows = {row.split(" | ")[0]: row.split(" | ") for row in said.splitlines() if row.startswith("| ")}
    assert float(rows["| slow"][2]) >= 0.5 and rows["| slow"][1] == "1"
    assert "failed" in said and said.index("Running stage 'slow'") < said.index("| slow")
    assert demo.main([str(tmp_path)]) != 0
    assert "| slow | up to date |" in capfd.readouterr().out
