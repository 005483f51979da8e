"""The verb generate."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import lamp_hf

from .common import (
    KINDS,
    OTHERS,
    CleanFeet,
    InPlace,
    Json,
    Model,
    RootMotion,
    app,
    check_travel,
    load_pipeline,
    motion_report,
    report,
)
from .constraint_files import read_constraints


@app.command()
def generate(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="What the person does, as a sentence; several sentences follow one after another."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"A file: {KINDS}. With --prompts, a folder.")
    ] = None,
    duration: Annotated[
        list[float] | None,
        typer.Option(help="Seconds; chosen by the model if not given. Give it once, or once per sentence."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same motion.")] = 0,
    num_motions: Annotated[
        int, typer.Option(help="Motions to generate, from SEED on; their number follows the file's name.", min=1)
    ] = 1,
    candidates: Annotated[
        int, typer.Option(help="Motions to generate for each, with successive seeds; LaMP keeps the best.", min=1)
    ] = 1,
    loop: Annotated[
        bool, typer.Option("--loop", help="Let the last frame lead into the first, for about as long as --duration.")
    ] = False,
    in_place: InPlace = False,
    root_motion: RootMotion = False,
    prefix: Annotated[Path | None, typer.Option(help="A motion file to continue.")] = None,
    suffix: Annotated[Path | None, typer.Option(help="A motion file to lead into.")] = None,
    motion: Annotated[Path | None, typer.Option(help="A motion file to generate anew outside of --keep.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Seconds of --motion that stay, as START-END. May be given several times."),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            help="Path to walk along: a CSV with x and z in metres, optionally time (seconds) and facing (degrees)."
        ),
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Metres per second along --path.")] = None,
    pose: Annotated[
        list[str] | None,
        typer.Option(help="A pose to be in, as SECOND:FILE or SECOND:FILE@SECOND. May be given several times."),
    ] = None,
    constraints: Annotated[
        Path | None, typer.Option(help="A JSON list of paths, poses and points, see docs/constraints.md.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="How closely to follow the text; 1 is without guidance.")
    ] = None,
    num_inference_steps: Annotated[int | None, typer.Option(help="Steps of decoding.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Variety of motions; 0 takes the most likely tokens.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A .txt of sentences or a .csv (text, name, duration, seed); each becomes a motion."),
    ] = None,
    kind: Annotated[str, typer.Option(help="Suffix of the files that --prompts writes.")] = "npz",
    batch_size: Annotated[int, typer.Option(help="Motions per batch, with --prompts.", min=1)] = 16,
    clean_feet: CleanFeet = False,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Generate a motion from sentences, or a motion for each sentence of a file.

    Motions of --prompts that exist already are kept. Processes that are given the same command share the sentences,
    under `accelerate launch -m lamp_hf generate --prompts ...` too.

    Example: lamp-hf generate "a person walks forward" "waves" -o walk.mp4 --duration 5 --duration 3 --seed 0
    """
    if bool(texts) == (prompts is not None) or output is None:
        raise ValueError("give a sentence and -o FILE, or --prompts FILE and -o FOLDER")
    decoding = {
        "guidance_scale": guidance_scale,
        "num_inference_steps": num_inference_steps,
        "temperature": temperature,
    }
    decoding = {name: value for name, value in decoding.items() if value is not None}
    decoding |= {"num_candidates": candidates} if candidates > 1 else {}
    files = {"prefix": prefix, "suffix": suffix, "motion": motion}
    files = {name: file for name, file in files.items() if file is not None}
    wanted = read_constraints(constraints, path, pose or [], speed)
    if prompts is not None:
        if duration or files or keep or wanted or clean_feet or num_motions > 1 or loop or in_place or root_motion:
            raise ValueError(
                "--prompts takes no --prefix, --suffix, --motion, --keep, --path, --pose, --constraints, "
                "--num-motions, --clean-feet, --loop, --in-place or --root-motion; durations are a column of the csv"
            )
        _generate_files(prompts, output, seed, kind.removeprefix("."), batch_size, decoding, model, as_json)
    else:
        options = {"duration": (duration or [None])[0] if len(duration or []) < 2 else duration, "seed": seed}
        options |= decoding | ({"keep": [_seconds(part) for part in keep]} if keep else {})
        options |= {"num_return_sequences": num_motions} if num_motions > 1 else {}
        options |= {"constraints": wanted} if wanted else {}
        options |= {"loop": True} if loop else {}
        check_travel(output, in_place, root_motion)

        def finish(motion: lamp_hf.Motion, file: Path) -> lamp_hf.Motion:
            motion = motion.clean() if clean_feet else motion
            motion = motion.in_place() if in_place else motion
            motion.save(file, root_motion=root_motion)
            return motion

        _generate_file(texts or [], output, files, options, finish, model, as_json)


def _seconds(text: str) -> tuple[float, float]:
    """Read a range of seconds, `0-1.5`."""
    number = r"(\d+\.?\d*|\.\d+)"
    match = re.fullmatch(rf"{number}-{number}", text.strip())
    if match is None:
        raise ValueError(f"--keep {text}: give the first and the last second that stay, 0-1.5 for instance")
    return float(match[1]), float(match[2])


def _generate_file(
    texts: list[str], output: Path, files: dict[str, Path], options: dict, finish: Callable, model: str, as_json: bool
) -> None:
    from lamp_hf.motion.clip import check_output_path

    if len(texts) > 1 and all(len(text.split()) == 1 for text in texts):
        raise ValueError(f'put the sentence in quotes: lamp-hf generate "{" ".join(texts)}" -o {output}')
    check_output_path(output)
    pipe = load_pipeline("text-to-motion", model)
    options = options | {name: lamp_hf.Motion.load(path).resample(pipe.fps) for name, path in files.items()}
    if len(texts) == 1 and (files or "keep" in options):
        generated = pipe(texts[0], **options)
    else:
        generated = pipe(texts, mode="sequence", **options)
    is_best = "num_candidates" in options
    if isinstance(generated, dict):
        report(*_save(generated, output, pipe, finish, is_best), as_json)
        return
    results = [
        _save(result, output.with_stem(f"{output.stem}-{number}"), pipe, finish, is_best)
        for number, result in enumerate(generated, 1)
    ]
    report({"motions": [values for values, _ in results]}, "\n".join(line for _, line in results), as_json)


def _save(generated: dict, output: Path, pipe, finish: Callable, is_best: bool) -> tuple[dict, str]:
    """Write a motion, and tell about it: for machines, and for people."""
    motion = finish(lamp_hf.Motion(**generated), output)
    values, line = motion_report(output, motion)
    told = {name: generated[name] for name in ("seed", "familiarity", "nearest")}
    known = pipe.processor.familiarity
    if "constraint_error" in generated:
        told["constraint_error"] = generated["constraint_error"]
    told["unfamiliar"] = None if known is None else known.is_unfamiliar(generated["familiarity"])
    return values | told, line + (f", seed {generated['seed']}" if is_best else "")


def _generate_files(
    prompts: Path, output: Path, seed: int, kind: str, batch_size: int, decoding: dict, model: str, as_json: bool
) -> None:
    from lamp_hf.batch_generation import generate_files, read_prompts
    from lamp_hf.distributed import take_device

    requests, refused = read_prompts(prompts, seed)
    pipe = load_pipeline("text-to-motion", model, device=take_device())
    done = generate_files(pipe, requests, output, kind, batch_size, **decoding)
    done.failed = refused | done.failed
    lines = [f"{output}: {done.made} made, {done.kept} there already, {len(done.failed)} failed"]
    lines += [f"{output}: {done.missing} motions are with {OTHERS}"] if done.missing else []
    lines += [f"{name}: {problem}" for name, problem in done.failed.items()]
    report({"output": str(output), **asdict(done)}, "\n".join(lines), as_json)
    if done.failed and not done.made + done.kept + done.missing:
        raise ValueError("no prompt could be turned into a motion")
