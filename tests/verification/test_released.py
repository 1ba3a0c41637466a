"""The paper's released benchmark goes in and comes out the same."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medground import records
from medground.cli import app
from medground.errors import MedgroundError
from medground.lvlm.prompts import question
from medground.verification import released
from medground.verification.gates import released_records

FILE = Path(__file__).parents[2] / "shared" / "golden" / "released_direct.json"
needs_file = pytest.mark.skipif(not FILE.exists(), reason="the released file is not beside the checkout")


def sample(source, index):
    return {
        "source": source, "index": index, "patient_id": f"p{index}", "split": "test", "film": "film.png", "twin": None,
        "width": 9, "height": 9, "finding": "mass", "question": question("mass"), "answer": "Yes",
        "regions": [(0.0, 0.0, 2.0, 2.0)], "licence": "none", "marker": None,
    }  # fmt: skip


def invented(name="direct", counts=released.DIRECT):
    return [
        {
            "model": model, "dataset": dataset, "index": index, "answer": "Yes", f"prediction_{name}": "Yes.\n",
            f"prediction_edited_{name}": "No", f"prediction_edited_kept_{name}": "Yes",
            f"prediction_edited_kept_normal_{name}": "Yes.",
        }
        for model, numbers in counts.items()
        for dataset, number in zip(released.DATASETS, numbers, strict=True)
        for index in range(number)
    ]  # fmt: skip


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@needs_file
def test_the_released_file_round_trips():
    mode, answers = released.read(FILE)
    samples = [sample(*key) for key in sorted({(answer["source"], answer["index"]) for answer in answers})]
    cases, lost = released.cases(answers, samples)
    assert mode == "direct" and not lost and len(cases) == 1880 and all(case["kept"] for case in cases)
    assert released_records(cases, answers, mode) == json.loads(FILE.read_text())


def test_reasoning_files_use_the_papers_name_of_the_mode(tmp_path):
    counts = {model: numbers for model, numbers in released.DIRECT.items()} | {"qwen2_5_vl_3b": (285, 30, 64)}
    records = invented("cot", counts)
    mode, answers = released.read(write(tmp_path / "reasoning.json", records))
    assert mode == "reasoning" and len(answers) == 4 * 2060
    cases, _ = released.cases(answers, [sample(s, i) for s in released.DATASETS for i in range(300)])
    assert cases[0]["question"].endswith("Think step by step and answer with yes or no.")
    assert released_records(cases, answers, mode) == records


def test_the_command_writes_cases_and_names_what_has_no_sample(tmp_path):
    file = write(tmp_path / "direct.json", invented())
    table = tmp_path / "samples" / "vindr_cxr" / "samples.parquet"
    records.write_table([sample("vindr_cxr", index) for index in range(100)], records.SAMPLES, table)
    out = tmp_path / "cases.parquet"
    words = ["import-released", str(file), "--samples", str(tmp_path / "samples"), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    rows = records.read_rows(out, records.CASES)
    assert {row["source"] for row in rows} == {"vindr_cxr"}
    assert len(rows) == sum(min(n, 100) for _, n, _ in released.DIRECT.values())
    assert "imagenome: 279 samples are not in" in result.output and "vindr_cxr: 7 samples" in result.output


def reasoning():
    """A reasoning file of the release's size whose texts name the finding of their index."""
    counts = released.DIRECT | {"qwen2_5_vl_3b": (285, 30, 64)}
    told = "No other thing is seen.\n\nTherefore, yes, there is evidence of {} in the image."
    return [r | {"prediction_cot": told.format(FINDINGS[r["index"] % 7])} for r in invented("cot", counts)]


FINDINGS = ["mass", "edema", "pleural effusion", "pneumonia", "nodule", "atelectasis", "fracture"]


def named(shift=0, most=300):
    """Samples whose finding changes with the index; ``shift`` as in a file from which studies are missing."""
    return [
        sample(source, index) | {"finding": FINDINGS[(index + shift) % 7]}
        for source in released.DATASETS
        for index in range(most)
    ]


def test_both_files_come_into_one_table_in_one_call_or_two(tmp_path):
    files = [str(write(tmp_path / "direct.json", invented())), str(write(tmp_path / "reasoning.json", reasoning()))]
    for source in released.DATASETS:
        rows = [row for row in named() if row["source"] == source]
        records.write_table(rows, records.SAMPLES, tmp_path / "samples" / source / "samples.parquet")

    def run(*given, out):
        words = ["import-released", *given, "--samples", str(tmp_path / "samples"), "--out", str(tmp_path / out)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return result.output, records.read_rows(tmp_path / out, records.CASES)

    output, together = run(*files, out="a.parquet")
    run(files[0], out="b.parquet")
    _, apart = run(files[1], out="b.parquet")
    assert len(together) == 1880 + 2060 and sorted(map(str, apart)) == sorted(map(str, together))
    _, again = run(files[1], out="b.parquet")
    assert len(again) == len(together)
    assert all(row["kept"] for row in together)
    assert "reads otherwise than the release: 0 of 8240" in output and "100% that of their own index" in output
    assert CliRunner().invoke(app, ["import-released", files[0], files[0]]).exit_code == 1


def test_the_releases_verdicts_are_trusted_and_disagreements_counted(tmp_path):
    odd = reasoning()
    odd[7]["prediction_edited_cot"] = "It is not there, said nobody. Y"
    _, answers = released.read(write(tmp_path / "reasoning.json", odd))
    assert [a["text"] for a in released.disagreements(answers)] == ["It is not there, said nobody. Y"]
    cases, _ = released.cases(answers, named())
    assert all(case["kept"] for case in cases) and len(cases) == 2060


def test_annotations_of_other_studies_are_refused(tmp_path):
    _, answers = released.read(write(tmp_path / "reasoning.json", reasoning()))
    assert "that of their own index" in released.check_join(answers, named())["padchest_gr"]
    with pytest.raises(
        MedgroundError, match=r"padchest_gr: .* texts name a finding, 0% .* not those that the paper used"
    ):
        released.check_join(answers, [row for row in named(shift=1) if row["source"] == "padchest_gr"])
    with pytest.raises(MedgroundError, match="padchest_gr: the release has a sample 189, the last one here is 99"):
        released.check_join(answers, [row for row in named(most=100) if row["source"] == "padchest_gr"])
    _, direct = released.read(write(tmp_path / "direct.json", invented()))
    assert "too few to tell" in released.check_join(direct, named())["padchest_gr"]


def _without(record, field):
    return {name: value for name, value in record.items() if name != field}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-1], "1879 records"),
        (lambda r: [*r[:-1], r[0]], "there twice"),
        (lambda r: [*r[:-1], r[-1] | {"model": "gpt"}], "'gpt'"),
        (lambda r: [*r[:-1], r[-1] | {"dataset": "mimic"}], "'mimic'"),
        (lambda r: [*r[:-1], r[-1] | {"index": "7"}], "index '7'"),
        (lambda r: [*r[:-1], r[-1] | {"model": "gemma3_4b", "index": 999}], "74 records of gemma3_4b on"),
        (lambda r: [r[0] | {"prediction_edited_direct": None}, *r[1:]], "must be what the model wrote"),
        (lambda r: [_without(r[0], "prediction_direct"), *r[1:]], "neither"),
        (lambda r: {"records": r}, "not a list"),
        (lambda r: [], "not a list"),
    ],
)
def test_a_file_that_is_not_the_release_is_refused(tmp_path, change, message):
    counts = {m: n for m, n in released.DIRECT.items()}
    with pytest.raises(MedgroundError, match=message):
        released.read(write(tmp_path / "direct.json", change(invented(counts=counts))))


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "cut.json").write_text('[{"model":')
    with pytest.raises(MedgroundError, match=r"cut\.json is not JSON"):
        released.read(tmp_path / "cut.json")
    with pytest.raises(MedgroundError, match=r"gone\.json cannot be read"):
        released.read(tmp_path / "gone.json")
