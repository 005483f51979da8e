"""Many motions from a file of sentences: on all processes, resumable, nothing twice."""

import contextlib
import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from tqdm import tqdm

from .fingerprint import identify
from .models.prompt_splitting import parts_in_order
from .motion.clip import Motion, check_output_path


@dataclass(frozen=True)
class Prompt:
    """Args:
    name (`str`): of the file to write, without its ending.
    text (`str`): a sentence.
    duration (`float`, *optional*): seconds; None lets the model choose.
    seed (`int`): of the motion.
    """

    name: str
    text: str
    duration: float | None
    seed: int


@dataclass
class BulkResult:
    """Args:
    made (`int`): motions made now, by this process.
    kept (`int`): motions that were there already.
    failed (`dict[str, str]`): of names what is wrong with their prompts.
    """

    made: int
    kept: int
    failed: dict[str, str]


def read_prompts(path: Path, seed: int) -> list[Prompt]:
    """Sentences of a text file, one a line, or of a csv: `text` and, as one likes, `name`, `duration`, `seed`.

    Names are line numbers and seeds follow on `seed` where none are given.

    Raises:
        ValueError: on another kind of file, one without sentences, a column that is not known, a name given twice, or
            a number that is none.
    """
    content = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".csv":
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        found = list(rows[0]) if rows else ["text"]
        if "text" not in found or set(found) - {"text", "name", "duration", "seed", None}:
            raise ValueError(f"{path} has columns {found}; wanted: text, and if you like name, duration and seed")
    elif path.suffix.lower() == ".txt":
        rows = [{"text": line} for line in content.splitlines()]
    else:
        raise ValueError(f"{path} is neither a .txt, with a sentence a line, nor a .csv")
    prompts = []
    for i, row in enumerate(rows):
        if None in row:  # where `csv` puts fields that have no column
            raise ValueError(f"{path}, row {i + 1}: more fields than columns; a text with commas needs quotes")
        if not (row["text"] or "").strip():
            continue
        try:
            duration = float(row["duration"]) if row.get("duration") else None
            own_seed = int(row["seed"]) if row.get("seed") else seed + i
        except ValueError:
            raise ValueError(f"{path}, row {i + 1}: duration and seed must be numbers") from None
        if not 0 <= own_seed < 2**63:
            raise ValueError(f"{path}, row {i + 1}: a seed is a whole number from 0 to {2**63 - 1}")
        text = " ".join(row["text"].split())
        prompts.append(Prompt(row.get("name") or f"{i + 1:06d}", text, duration, own_seed))
    if not prompts:
        raise ValueError(f"{path} holds no sentence")
    names = {prompt.name for prompt in prompts}
    if len(names) < len(prompts) or any(Path(name).name != name for name in names):
        raise ValueError(f"{path}: names must differ and be plain file names")
    return prompts


def generate_files(
    pipe, prompts: list[Prompt], folder: Path, kind: str, batch_size: int = 16, **options
) -> BulkResult:
    """Writes a motion file for each prompt that has none yet, or one of another prompt; processes share the prompts.

    A sentence that says what comes after what is done in this order, see [`parts_in_order`].
    A motion depends on its own text, seed and duration alone, so a run that was cut short and any number of processes
    give the same files.
    """
    from .distributed import this_process

    state = this_process()
    check_output_path(folder.parent / f"motion.{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    mine = prompts[state.process_index :: state.num_processes]
    made_of, model = _read_records(folder), identify(pipe.model.name_or_path, pipe.model.config)

    def parts(prompt: Prompt) -> list:
        return [*astuple(prompt)[1:], model, options]

    missing = [
        prompt
        for prompt in mine
        if not (folder / f"{prompt.name}.{kind}").exists()
        or made_of.get(f"{prompt.name}.{kind}", parts(prompt)) != parts(prompt)
    ]
    state.wait_for_everyone()  # before anybody writes a record
    record = folder / f"prompts_{state.process_index}.jsonl"  # what files were made of
    failed: dict[str, str] = {}
    with tqdm(total=len(missing), unit=" motions", disable=None) as progress:
        for batch in _batches(missing, batch_size):
            for prompt, made in zip(batch, _make(pipe, batch, failed, **options)):
                if made is not None:
                    motion = Motion(made["joints"], made["fps"], pipe.skeleton.name, text=prompt.text)
                    motion.save(folder / f"{prompt.name}.{kind}")
                    with open(record, "a", encoding="utf-8") as file:
                        file.write("\n" + json.dumps([time.time(), f"{prompt.name}.{kind}", parts(prompt)]))
            progress.update(len(batch))
    return BulkResult(len(missing) - len(failed), len(mine) - len(missing), failed)


def _read_records(folder: Path) -> dict[str, list]:
    """Of what motion files were made, by all processes of all runs; the latest word counts."""
    records = []
    for path in folder.glob("prompts_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # a line that a killed run did not end
                records.append(json.loads(line))
    return {name: parts for _, name, parts in sorted(records, key=lambda record: record[0])}


def _batches(prompts: list[Prompt], batch_size: int) -> Iterator[list[Prompt]]:
    """Of like length together, those whose length the model chooses last; what is done in a row is made alone."""
    plain = [prompt for prompt in prompts if not _is_in_a_row(prompt)]
    plain.sort(key=lambda prompt: prompt.duration or float("inf"))
    yield from (plain[first : first + batch_size] for first in range(0, len(plain), batch_size))
    yield from ([prompt] for prompt in prompts if _is_in_a_row(prompt))


def _is_in_a_row(prompt: Prompt) -> bool:
    return len(parts_in_order(prompt.text)) > 1


def _make(pipe, batch: list[Prompt], failed: dict[str, str], **options) -> list[dict | None]:
    """A batch's motions; where a prompt is at fault, one by one, so that it fails alone."""
    try:
        if _is_in_a_row(prompt := batch[0]):  # which is a batch of its own
            return [pipe(prompt.text, duration=prompt.duration, seed=prompt.seed, mode="sequence", **options)]
        return pipe(
            [prompt.text for prompt in batch],
            duration=[prompt.duration for prompt in batch],
            seed=[prompt.seed for prompt in batch],
            batch_size=len(batch),
            **options,
        )
    except ValueError as error:
        if len(batch) == 1:
            failed[batch[0].name] = " ".join(str(error).split())
            return [None]
        return [motion for prompt in batch for motion in _make(pipe, [prompt], failed, **options)]
