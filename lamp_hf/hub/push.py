"""What `lamp-hf push` uploads: models with code and measured cards, data sets, galleries, the metric and the demo."""

import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

import lamp_hf

from ..models.skeleton import get_skeleton
from .cards import TEMPLATES, render, table_of_numbers


@dataclass(frozen=True)
class Kind:
    """Args:
    repo_type (`str`): `"model"`, `"dataset"` or `"space"`.
    fill (`Callable`): `(folder of the upload, what is pushed, repository)`.
    default (`Callable`, *optional*): where what is pushed lies if nothing is said.
    """

    repo_type: str
    fill: Callable[[Path, Path, str], None]
    default: Callable[[], str | Path] | None = None


def push(kind: str, repository: str, source: Path | None = None, private: bool = False) -> str:
    """Makes the repository if there is none, and uploads all in one commit.

    Args:
        kind (`str`): one of `KINDS`.
        repository (`str`): `user/name` on the Hub.
        source (`Path`, *optional*): folder of a model, a data set or a gallery; the bundled model if not given.
        private (`bool`): make a new repository private.

    Returns:
        Its address.

    Raises:
        ValueError: on an unknown kind, a missing source, or a card that lacks a number.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(kind, repository, source, folder)
        api, repo_type = HfApi(), KINDS[kind].repo_type
        sdk = {"space_sdk": "gradio"} if repo_type == "space" else {}
        try:
            url = api.create_repo(repository, repo_type=repo_type, private=private, exist_ok=True, **sdk)
            api.upload_folder(
                repo_id=repository,
                repo_type=repo_type,
                folder_path=folder,
                commit_message=f"{kind} by lamp-hf",
                delete_patterns=["*.safetensors*"],  # weights of an earlier push in other shards would be loaded
            )
        except Exception as error:
            if not type(error).__module__.startswith("httpx"):  # the Hub's client changes its library now and then
                raise
            raise OSError(f"the Hub cannot be reached: {error}") from None
    return str(url)


def stage(kind: str, repository: str, source: Path | None, folder: Path) -> None:
    """Writes into `folder` what `push` would upload."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository!r} is no repository: give user/name")
    if source is None:
        if KINDS[kind].default is None:
            raise ValueError(f"which {kind}? Give its folder")
        source = Path(KINDS[kind].default())
    if not source.is_dir():
        raise FileNotFoundError(f"no such folder: {source}")
    KINDS[kind].fill(folder, source, repository)


def _check_base(source: Path) -> None:
    """An adapter must name what it adapts in a way that others can find."""
    adapter = source / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
        if Path(base).is_absolute() or Path(base).exists():
            raise ValueError(f"{source} adapts a folder of this machine: merge it first (training.bundle does)")


def _pipeline(task: str) -> Callable[[Path, Path, str], None]:
    def fill(folder: Path, source: Path, repository: str) -> None:
        from transformers import pipeline

        _check_base(source)
        card = _model_card(source, repository)  # first: without it nothing is done
        pipeline(task, model=str(source)).save_pretrained(folder)
        _finish_model(folder, source, card)

    return fill


def _model(folder: Path, source: Path, repository: str) -> None:
    """Any other model: a tokenizer, LaMP before it is part of a generator, what `lamp_hf.import_checkpoint` wrote."""
    from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor

    card = _model_card(source, repository)
    AutoModel.from_pretrained(source).save_pretrained(folder)
    for name, kind in (("processor_config.json", AutoProcessor), ("preprocessor_config.json", AutoFeatureExtractor)):
        if (source / name).is_file():
            kind.from_pretrained(source).save_pretrained(folder)
    _finish_model(folder, source, card)


def _lavimo(folder: Path, source: Path, repository: str) -> None:
    card = _model_card(source, repository)
    lamp_hf.LavimoModel.from_pretrained(source).save_pretrained(folder)
    lamp_hf.LavimoProcessor.from_pretrained(source).save_pretrained(folder)
    _finish_model(folder, source, card)


def _model_card(source: Path, repository: str) -> str:
    """A bundled model's from its template; else what its owner wrote, and the numbers that were measured."""
    if source.resolve().parent == Path(lamp_hf.bundled()).resolve().parent:
        return render(source, repository=repository)
    if not (source / "README.md").is_file():
        raise ValueError(f"{source} has no README.md: write what it was trained on, its licence and its limits")
    card = (source / "README.md").read_text(encoding="utf-8")
    if unmeasured := re.search(r"\b(?:TODO|TBD|NaN|nan|None|null)\b", card):
        raise ValueError(f"{source / 'README.md'} has a blank: {unmeasured.group()}")
    if (source / "conversion.json").is_file():  # nobody trained it here; the card says where it is from
        return card
    return card.rstrip() + "\n\n" + table_of_numbers(source)


def _finish_model(folder: Path, source: Path, card: str) -> None:
    """The weights as they lie in `source`, in half precision maybe, with the evaluations and the card."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    for path in (*source.glob("*.safetensors*"), *source.glob("*.json")):
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _dataset(folder: Path, source: Path, repository: str) -> None:
    """A folder that `lamp-hf prepare` wrote: its layout as it is, and a card with what is in it."""
    about = source / "about.json"
    if not about.is_file():
        raise ValueError(
            f'{about} is missing: write {{"title": ..., "license": ..., "source": ...}} and, for KIT-ML\'s '
            'layout, "skeleton": "kit", for nobody may publish recordings whose licence is not told'
        )
    told = json.loads(about.read_text(encoding="utf-8"))
    if not isinstance(told, dict):
        raise ValueError(f"{about} holds no names and values")
    if missing := [name for name in ("title", "license", "source") if not told.get(name)]:
        raise ValueError(f"{about} does not tell {missing[0]}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", told["license"]):
        raise ValueError(f"{about}: license {told['license']!r} must be the Hub's name of one, cc-by-4.0 or other")
    skeleton = told.get("skeleton", "humanml3d")
    rows = []
    for split in ("train", "val", "test"):
        if (source / f"{split}.txt").is_file() and (source / f"{split}.txt").read_text().split():
            data = lamp_hf.load_motion_dataset(source, split, skeleton)
            minutes = sum(map(len, data["motion"])) / get_skeleton(skeleton).fps / 60
            rows.append(f"| {split} | {len(data)} | {sum(map(len, data['captions']))} | {minutes:.1f} |")
    if not rows:
        raise ValueError(f"{source} has no split with a clip in it")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    template = (TEMPLATES / "dataset.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(
        template.format(
            **{name: told[name] for name in ("title", "license", "source")},
            skeleton=skeleton,
            repository=repository,
            rows="\n".join(rows),
        ),
        encoding="utf-8",
    )


def _index(folder: Path, source: Path, repository: str) -> None:
    lamp_hf.MotionIndex.load(source).write_repository(folder, repository)


def _metric(folder: Path, source: Path, repository: str) -> None:
    """The page, and what `evaluate` loads."""
    _space(folder, source, repository)
    metric = Path(lamp_hf.metrics.path("lamp_bertscore")) / "lamp_bertscore.py"
    shutil.copyfile(metric, folder / metric.name)


def _space(folder: Path, source: Path, repository: str) -> None:
    """A page with the package beside it, so that a Space runs what is installed here."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=ignored)
    package = Path(lamp_hf.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=ignored)
    needed = map(Requirement, importlib.metadata.requires("lamp-hf"))
    lines = sorted(
        f"{need.name}{need.specifier}" for need in needed if not need.marker or need.marker.evaluate({"extra": "demo"})
    )
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


KINDS = {
    "text-to-motion": Kind("model", _pipeline("text-to-motion"), lambda: lamp_hf.bundled()),
    "captioning": Kind("model", _pipeline("motion-to-text"), lambda: lamp_hf.bundled("captioning")),
    "video": Kind("model", _lavimo, lambda: lamp_hf.bundled("video")),
    "model": Kind("model", _model),
    "dataset": Kind("dataset", _dataset),
    "index": Kind("dataset", _index),
    "metric": Kind("space", _metric, lambda: TEMPLATES / "metric_space"),
    "demo": Kind("space", _space, lambda: TEMPLATES / "demo_space"),
}
