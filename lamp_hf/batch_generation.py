"""Motions for a file of prompts: shared by processes, resumable, none generated twice."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .claims import claim, name_portion, own_number
from .data.tables import TOO_MANY_FIELDS, read_csv
from .fingerprint import identify
from .models.prompt_splitting import parts_in_order
from .motion.clip import Motion, check_output_path


_MAX_SEED = 2**63 - 1
_COLUMNS = {"text", "name", "duration", "seed", "stratum", "family"}  # the last two are for `lamp-hf evaluate`


@dataclass(frozen=True)
class Prompt:
    """A request for one motion file.

    Args:
        name (`str`): name of the file to write, without its suffix.
        text (`str`): a sentence.
        duration (`float`, *optional*): seconds; None lets the model choose.
        seed (`int`): seed of the motion.
    """

    name: str
    text: str
    duration: float | None
    seed: int


@dataclass
class BatchReport:
    """Result of [`generate_files`] in one process.

    Args:
        made (`int`): motions generated in this run.
        kept (`int`): motions that were there already, or that other processes have made.
        failed (`dict[str, str]`): names of prompts that were refused, and why.
        unfamiliar (`dict[str, list[str]]`): names of prompts that are unlike all that the model was trained on, and
            the nearest sentences of that; of those made by this run.
        missing (`int`): motions that other processes had not made yet when this one had nothing else to do.
    """

    made: int
    kept: int
    failed: dict[str, str]
    unfamiliar: dict[str, list[str]] = field(default_factory=dict)
    missing: int = 0


def read_prompts(path: Path, seed: int) -> tuple[list[Prompt], dict[str, str]]:
    """Read prompts from a .txt file, one a line, or a .csv file with a column `text` and optional other columns.

    Args:
        path (`Path`): the file; a .csv may have the columns `name`, `duration` (seconds) and `seed`.
        seed (`int`): seed of the first prompt; where none is given, each prompt takes the next number. Names are line
            numbers where none are given.

    Returns:
        `tuple[list[Prompt], dict[str, str]]`: the prompts, and the problem of each row that is none: a name that
        occurred before or is no plain file name, a duration or seed that is no number, or a field without a column.

    Raises:
        ValueError: when the file is of another kind, a column is unknown, or no row is a prompt.
    """
    prompts: dict[str, Prompt] = {}
    refused: dict[str, str] = {}
    for number, row in enumerate(_read_rows(path)):
        if None not in row and not (row["text"] or "").strip():
            continue
        try:
            prompt = _read_prompt(row, number, seed)
            if prompt.name in prompts:
                raise ValueError(f"names must differ, and {prompt.name!r} occurred before")
            prompts[prompt.name] = prompt
        except ValueError as error:
            refused[f"row {number + 1}"] = str(error)
    if not prompts:
        problem = "".join(f": {name}: {reason}" for name, reason in list(refused.items())[:1])
        raise ValueError(f"{path} holds no sentence{problem}")
    return list(prompts.values()), refused


def _read_rows(path: Path) -> list[dict]:
    if path.suffix.lower() == ".txt":
        return [{"text": line} for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if path.suffix.lower() != ".csv":
        raise ValueError(f"{path} is neither a .txt, with a sentence a line, nor a .csv")
    rows = read_csv(path)
    columns = [name for name in rows[0] if name is not None] if rows else ["text"]
    if "text" not in columns or set(columns) - _COLUMNS:
        others = ", ".join(sorted(_COLUMNS - {"text"}))
        raise ValueError(f"{path} has columns {columns}; required: text; optional: {others}")
    return rows


def _read_prompt(row: dict, number: int, first_seed: int) -> Prompt:
    if None in row:
        raise ValueError(TOO_MANY_FIELDS)
    try:
        duration = float(row["duration"]) if row.get("duration") else None
        seed = int(row["seed"]) if row.get("seed") else first_seed + number
    except ValueError:
        raise ValueError("duration and seed must be numbers") from None
    if not 0 <= seed <= _MAX_SEED:
        raise ValueError(f"a seed is a whole number from 0 to {_MAX_SEED}")
    name = row.get("name") or f"{number + 1:06d}"
    if Path(name).name != name or name == "..":
        raise ValueError(f"names must be plain file names, not {name!r}")
    return Prompt(name, " ".join(row["text"].split()), duration, seed)


def generate_files(
    pipe, prompts: list[Prompt], folder: Path, kind: str, batch_size: int = 16, **options
) -> BatchReport:
    """Write a motion file for each prompt that has none yet, or whose file was made from another prompt.

    Any number of processes that are given the same prompts share them, see [`~lamp_hf.claims.claim`]. A sentence that
    names an order is generated in this order, see [`parts_in_order`]. A motion depends on its own text, seed and
    duration alone, so an interrupted run that is resumed and any number of processes give the same files, but for the
    last digits of those that were in another batch.

    Args:
        pipe ([`TextToMotionPipeline`]): the generator.
        prompts (`list[Prompt]`): all prompts, of all processes.
        folder (`Path`): made if it is missing.
        kind (`str`): suffix of the files without its dot, `"bvh"` for instance.
        batch_size (`int`): motions that are claimed, and generated in one batch.
        options (*optional*): further options of the pipeline's call.
    """
    check_output_path(folder.parent / f"motion.{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    records, model = _Records(folder), identify(pipe.model.name_or_path, pipe.model.config)

    def recipe(prompt: Prompt) -> list:
        """List all that a motion depends on."""
        return [*astuple(prompt)[1:], model, options]

    def find_missing(some: list[Prompt]) -> list[Prompt]:
        records.refresh()
        files = {f"{prompt.name}.{kind}": prompt for prompt in some}
        return [
            prompt
            for file, prompt in files.items()
            if not (folder / file).exists() or records.latest.get(file, recipe(prompt)) != recipe(prompt)
        ]

    ordered = [prompt for batch in _batches(prompts, batch_size) for prompt in batch]
    parts = [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)]
    portions = {name_portion([kind, [prompt.name for prompt in part]]): part for part in parts}
    claims, done = folder / ".claims", BatchReport(0, 0, {})
    missing = find_missing(prompts)
    with own_number(claims) as number, tqdm(total=len(missing), unit=" motions", disable=None) as progress:
        record = folder / f"prompts_{number}.jsonl"
        for claimed in claim(portions, claims, lambda name: find_missing(portions[name]), batch_size):
            for batch in _batches(claimed, batch_size):
                for prompt, result in zip(batch, _generate(pipe, batch, done.failed, options)):
                    if result is not None:
                        _save(result, prompt, folder / f"{prompt.name}.{kind}", pipe, done)
                        with open(record, "a", encoding="utf-8") as file:
                            file.write("\n" + json.dumps([time.time(), f"{prompt.name}.{kind}", recipe(prompt)]))
                progress.update(len(batch))
    done.missing = sum(prompt.name not in done.failed for prompt in find_missing(prompts))
    done.kept = len(prompts) - done.made - len(done.failed) - done.missing
    if not done.missing:
        shutil.rmtree(claims, ignore_errors=True)
    return done


def _save(result: dict[str, Any], prompt: Prompt, path: Path, pipe, done: BatchReport) -> None:
    """Write a motion, and report it."""
    Motion(result["joints"], result["fps"], pipe.skeleton.name, text=prompt.text).save(path)
    done.made += 1
    familiarity = pipe.processor.familiarity
    if familiarity is not None and familiarity.is_unfamiliar(result["familiarity"]):
        done.unfamiliar[prompt.name] = result["nearest"]


class _Records:
    """The recipe by which each motion file was made, by any process of any run; the latest record counts."""

    def __init__(self, folder: Path):
        self.latest: dict[str, list] = {}
        self._times: dict[str, float] = {}
        self._folder = folder
        self._read: dict[Path, int] = {}  # bytes of each file that need not be read again

    def refresh(self) -> None:
        """Read what was added since the last time."""
        for path in self._folder.glob("prompts_*.jsonl"):
            with open(path, "rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
            self._read[path] = self._read.get(path, 0) + content.rfind(b"\n") + 1  # the last line may be half of one
            for line in content.splitlines():
                with contextlib.suppress(ValueError):  # the last line of a run that was killed
                    written, name, recipe = json.loads(line)
                    if written >= self._times.get(name, 0):
                        self.latest[name], self._times[name] = recipe, written


def _batches(prompts: list[Prompt], batch_size: int) -> Iterator[list[Prompt]]:
    """Batch prompts by duration, those whose duration the model chooses last; a sequence is a batch by itself."""
    plain = [prompt for prompt in prompts if not _is_sequence(prompt)]
    plain.sort(key=lambda prompt: prompt.duration or float("inf"))
    yield from (plain[first : first + batch_size] for first in range(0, len(plain), batch_size))
    yield from ([prompt] for prompt in prompts if _is_sequence(prompt))


def _is_sequence(prompt: Prompt) -> bool:
    return len(parts_in_order(prompt.text)) > 1


def _generate(pipe, batch: list[Prompt], failed: dict[str, str], options: dict[str, Any]) -> list[dict | None]:
    """Generate a batch; when a prompt in it is refused, generate one by one, so that it fails alone."""
    first = batch[0]
    try:
        if _is_sequence(first):
            return [pipe(first.text, duration=first.duration, seed=first.seed, mode="sequence", **options)]
        return pipe(
            [prompt.text for prompt in batch],
            duration=[prompt.duration for prompt in batch],
            seed=[prompt.seed for prompt in batch],
            batch_size=len(batch),
            **options,
        )
    except ValueError as error:
        if len(batch) == 1:
            failed[first.name] = " ".join(str(error).split())
            return [None]
        return [result for prompt in batch for result in _generate(pipe, [prompt], failed, options)]
