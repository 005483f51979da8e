"""Uploads to the Hub: models with their code and card, data sets, galleries, the metric and the demo."""

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
from .cards import TEMPLATES, model_card


@dataclass(frozen=True)
class Kind:
    """One kind of repository that can be pushed.

    Args:
        repo_type (`str`): `"model"`, `"dataset"` or `"space"`.
        fill (`Callable`): takes the folder to upload, the source folder and the repository's name, and writes into
            the first.
        default (`Callable`, *optional*): returns the source folder to use where the caller names none.
    """

    repo_type: str
    fill: Callable[[Path, Path, str], None]
    default: Callable[[], str | Path] | None = None


def push(kind: str, repository: str, source: Path | None = None, private: bool = False) -> str:
    """Create the repository if it does not exist, and upload everything in one commit.

    Args:
        kind (`str`): a key of `KINDS`.
        repository (`str`): `user/name` on the Hub.
        source (`Path`, *optional*): folder of a model, a data set or a gallery. Defaults to the bundled model.
        private (`bool`, defaults to `False`): make a new repository private.

    Returns:
        `str`: the address of the repository.

    Raises:
        ValueError: on an unknown kind, a missing source, or a card that lacks a number.
        OSError: when the Hub cannot be reached.
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
            if not type(error).__module__.startswith("httpx"):  # by name: the Hub's client may change its library
                raise
            raise OSError(f"the Hub cannot be reached: {error}") from None
    return str(url)


def stage(kind: str, repository: str, source: Path | None, folder: Path) -> None:
    """Write into `folder` what `push` would upload; the arguments are those of `push`."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository!r} is not the name of a repository: give user/name")
    if source is None:
        if KINDS[kind].default is None:
            raise ValueError(f"no {kind} was given: name its folder with --source (source=)")
        source = Path(KINDS[kind].default())
    if not source.is_dir():
        raise FileNotFoundError(f"no such folder: {source}")
    KINDS[kind].fill(folder, source, repository)


def _fill_pipeline(task: str) -> Callable[[Path, Path, str], None]:
    def fill(folder: Path, source: Path, repository: str) -> None:
        from transformers import pipeline

        _check_adapter(source)
        card = model_card(source, repository)  # before anything is loaded or written
        pipeline(task, model=str(source)).save_pretrained(folder)
        _finish_model(folder, source, card)

    return fill


def _fill_lavimo(folder: Path, source: Path, repository: str) -> None:
    card = model_card(source, repository)
    lamp_hf.LavimoModel.from_pretrained(source).save_pretrained(folder)
    lamp_hf.LavimoProcessor.from_pretrained(source).save_pretrained(folder)
    _finish_model(folder, source, card)


def _fill_model(folder: Path, source: Path, repository: str) -> None:
    """Stage any other model: a tokenizer, a pretrained LaMP, or an imported checkpoint."""
    from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor

    card = model_card(source, repository)
    AutoModel.from_pretrained(source).save_pretrained(folder)
    for name, kind in (("processor_config.json", AutoProcessor), ("preprocessor_config.json", AutoFeatureExtractor)):
        if (source / name).is_file():
            kind.from_pretrained(source).save_pretrained(folder)
    _finish_model(folder, source, card)


def _check_adapter(source: Path) -> None:
    """Refuse an adapter whose base model is a folder of this machine, which nobody else could load."""
    adapter = source / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
        if Path(base).is_absolute() or Path(base).exists():
            raise ValueError(f"{source} adapts a folder of this machine: merge it first (training.bundle does)")


def _finish_model(folder: Path, source: Path, card: str) -> None:
    """Copy the source's own weights, which may be in half precision, and its other JSON files; write the card."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    for path in (*source.glob("*.safetensors*"), *source.glob("*.json")):
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _fill_dataset(folder: Path, source: Path, repository: str) -> None:
    """Stage a folder that `lamp-hf prepare` wrote, and a card with its size, source and licence."""
    about = _read_about(source / "about.json")
    rows = []
    for split in ("train", "val", "test"):
        if (source / f"{split}.txt").is_file() and (source / f"{split}.txt").read_text().split():
            data = lamp_hf.load_motion_dataset(source, split, about["skeleton"])
            minutes = sum(map(len, data["motion"])) / get_skeleton(about["skeleton"]).fps / 60
            rows.append(f"| {split} | {len(data)} | {sum(map(len, data['captions']))} | {minutes:.1f} |")
    if not rows:
        raise ValueError(f"{source} has no split with a clip in it")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    template = (TEMPLATES / "dataset.md").read_text(encoding="utf-8")
    card = template.format(**about, repository=repository, rows="\n".join(rows))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _read_about(path: Path) -> dict[str, str]:
    """Read the title, licence, source and skeleton of a data set."""
    if not path.is_file():
        raise ValueError(
            f'{path} is missing: write {{"title": ..., "license": ..., "source": ...}} and, for KIT-ML\'s layout, '
            '"skeleton": "kit"; recordings without a known licence must not be published'
        )
    about = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(about, dict):
        raise ValueError(f"{path} is not a JSON object")
    names = ("title", "license", "source")
    if missing := [name for name in names if not about.get(name)]:
        raise ValueError(f"{path} does not give the {missing[0]}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", about["license"]):
        raise ValueError(f"{path}: license {about['license']!r} must be the Hub's name of one, cc-by-4.0 or other")
    return {name: about[name] for name in names} | {"skeleton": about.get("skeleton", "humanml3d")}


def _fill_index(folder: Path, source: Path, repository: str) -> None:
    lamp_hf.MotionIndex.load(source).write_repository(folder, repository)


def _fill_metric(folder: Path, source: Path, repository: str) -> None:
    """Stage the metric's page, and the script that `evaluate` loads, under the name that it looks for.

    The script takes the package from the Space where it is not installed.
    """
    _fill_space(folder, source, repository)
    script = Path(lamp_hf.metrics.path("lamp_bertscore")) / "lamp_bertscore.py"
    code = script.read_text(encoding="utf-8").replace('SPACE = ""', f'SPACE = "{repository}"')
    for path in (folder / script.name, folder / f"{repository.rpartition('/')[2]}.py"):
        if not path.exists():
            path.write_text(code, encoding="utf-8")


def _fill_space(folder: Path, source: Path, repository: str) -> None:
    """Stage a Space with a copy of this package beside its page, so that it runs the installed version."""
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
    "text-to-motion": Kind("model", _fill_pipeline("text-to-motion"), lambda: lamp_hf.bundled()),
    "captioning": Kind("model", _fill_pipeline("motion-to-text"), lambda: lamp_hf.bundled("captioning")),
    "video": Kind("model", _fill_lavimo, lambda: lamp_hf.bundled("video")),
    "model": Kind("model", _fill_model),
    "dataset": Kind("dataset", _fill_dataset),
    "index": Kind("dataset", _fill_index),
    "metric": Kind("space", _fill_metric, lambda: TEMPLATES / "metric_space"),
    "demo": Kind("space", _fill_space, lambda: TEMPLATES / "demo_space"),
}
