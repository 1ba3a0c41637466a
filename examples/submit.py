"""From the name of the dataset to a scored entry: load cases, films and models, explain, write, check, score.

    python examples/submit.py ORG/NAME my-entry       or a folder of the dataset, or the pipeline's tables
The method here is the gradient of the answer, ten lines. Put yours in its place.
"""

import sys

import numpy as np
from torch.nn.functional import avg_pool2d

from medground import load_lvlm, submission
from medground.hub import data
from medground.images import read_film
from medground.scoring.tables import load_cases
from medground.submission.preview import NAME, against_board


def explain(lvlm, case: dict, film: np.ndarray) -> np.ndarray:
    """A map [h, w] of any resolution that covers the film, larger where there is more evidence for the answer."""
    height, width = film.shape
    canvas = lvlm.canvas([film]).requires_grad_()  # the film as the model sees it
    text = lvlm.text(case["question"], case["answer"], width, height)
    said = lvlm.forward(canvas, text).logits.float().log_softmax(-1)
    said[0].gather(-1, text.input_ids[0, text.answer][:, None]).sum().backward()
    x1, y1, x2, y2 = (round(edge) for edge in lvlm.letterbox(width, height).to_canvas((0, 0, width, height)))
    heat = (canvas.grad * canvas.detach()).abs()[:, y1:y2, x1:x2]
    return avg_pool2d(heat, 8)[0].cpu().numpy()


def main(name: str, out: str) -> None:
    tables = data.tables(name, films=True)
    cases = [case for case in load_cases(tables) if (tables.parent / case["film"]).is_file()]  # else: `medground films`
    maps = {}
    for model in sorted({case["model"] for case in cases}):
        place, commit = data.model(model, tables)
        lvlm = load_lvlm(place, revision=commit, most_pixels=data.asked(tables)["most_pixels"])
        for case in (case for case in cases if case["model"] == model):
            maps[case["case_id"]] = explain(lvlm, case, read_film(tables.parent / case["film"]))
    submission.write(
        out, maps=maps, method="Gradient", version="1", authors=["A. Author"], licence="CC0-1.0", hardware="laptop",
        models=sorted({case["model"] for case in cases}), modes=sorted({case["mode"] for case in cases}),
        used_test_regions=False, trained_on_sources=False)  # fmt: skip
    report, rows = against_board(out, tables)
    print(report.text())
    for row in rows:
        print(f"{row['entry']}{' <-' if row['entry'] == NAME else ''}: {row['order']} {row[row['order']]:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
