"""Verbs for motion files: convert, view, prepare."""

from pathlib import Path
from typing import Annotated

import typer

import lamp_hf

from .common import (
    KINDS,
    CleanFeet,
    FileReading,
    FolderReading,
    InPlace,
    Json,
    RootMotion,
    app,
    check_travel,
    report,
    report_motion,
    with_reading_options,
)


@app.command()
@with_reading_options
def convert(
    source: Annotated[Path, typer.Argument(help="A .bvh, .amc, .npz (ours, AMASS) or .npy (HumanML3D, KIT-ML) file.")],
    output: Annotated[Path | None, typer.Argument(help=f"A file: {KINDS}.")] = None,
    output_option: Annotated[Path | None, typer.Option("-o", "--output", help="The same, as an option.")] = None,
    onto: Annotated[
        Path | None, typer.Option(help="Your own character, a .glb, .vrm or .bvh; the output is it, in motion.")
    ] = None,
    onto_rig: Annotated[
        Path | None, typer.Option(help="Bone map in YAML, for a character whose bone names are not known.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Resample to these frames per second; those of the source if not given.")
    ] = None,
    *,
    reading: FileReading,
    text: Annotated[str | None, typer.Option(help="Caption of the motion.")] = None,
    clean_feet: CleanFeet = False,
    smooth: Annotated[float, typer.Option(help="Smooth over this many seconds.", min=0, max=2)] = 0.0,
    loop: Annotated[
        bool, typer.Option("--loop", help="Keep the best cycle: its last frame leads into its first.")
    ] = False,
    loop_seconds: Annotated[
        float | None, typer.Option(help="With --loop: about how long the loop lasts, in whole repetitions.")
    ] = None,
    in_place: InPlace = False,
    root_motion: RootMotion = False,
    size: Annotated[int, typer.Option(help="Side of a picture in pixels.")] = 480,
    camera: Annotated[str, typer.Option(help="Camera of pictures: follow, fixed or orbit.")] = "follow",
    as_json: Json = False,
) -> None:
    """Convert a motion file to another format, or put it onto your own character.

    Example: lamp-hf convert walk.bvh --onto hero.glb -o hero_walk.glb
    """
    from lamp_hf.motion.clip import check_output_path
    from lamp_hf.motion.onto_character import check_character_path

    output = _only_one(output, output_option)
    if onto is None:
        check_output_path(output)
        check_travel(output, in_place, root_motion)
    else:
        check_character_path(onto, output)
        if root_motion:
            raise ValueError("--root-motion is for files of our own skeleton: leave it out with --onto")
    if loop_seconds is not None and not loop:
        raise ValueError("--loop-seconds says how long a loop lasts: give --loop too")
    motion = lamp_hf.Motion.load(source, **reading)
    motion = motion if fps is None else motion.resample(fps)
    motion.text = text or motion.text
    motion = motion.clean(clean_feet, smooth) if clean_feet or smooth else motion
    try:
        motion = motion.loop(loop_seconds) if loop else motion
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    motion = motion.in_place() if in_place else motion
    if onto is None:
        written = motion.save(output, size, camera, root_motion)
    else:
        written = lamp_hf.retarget(motion, onto, output, onto_rig)
    report_motion(written, motion, as_json)


def _only_one(output: Path | None, option: Path | None) -> Path:
    """Return the path that was given, as an argument or as an option."""
    if (output is None) == (option is None):
        raise ValueError("give one file to write, as the second argument or with -o")
    return output or option


@app.command()
@with_reading_options
def view(
    sources: Annotated[list[Path], typer.Argument(help="Motion files, shown side by side.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the page here instead of opening a browser.")
    ] = None,
    *,
    reading: FileReading,
    as_json: Json = False,
) -> None:
    """Play motions in the browser, on one page that needs no network.

    Example: lamp-hf view walk.bvh wave.npz
    """
    import tempfile
    import webbrowser

    from lamp_hf.motion.files import printable, write_atomically
    from lamp_hf.motion.html import player_page

    if output is not None and output.suffix.lower() != ".html":
        raise ValueError(f"cannot write {output}: give an .html file")
    motions = [lamp_hf.Motion.load(source, **reading) for source in sources]
    for motion, source in zip(motions, sources):
        motion.text = motion.text or printable(source.name)
    page = output or Path(tempfile.mkdtemp(prefix="lamp-hf-")) / "motion.html"
    write_atomically(page, lambda path: path.write_text(player_page(motions), encoding="utf-8"))
    if output is None:
        webbrowser.open(page.as_uri())
    report({"output": str(page), "motions": len(motions)}, str(page), as_json)


@app.command()
@with_reading_options
def prepare(
    source: Annotated[
        Path, typer.Argument(help="Folder of motion files, with captions.csv, captions.json or .txt files.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder, in HumanML3D's layout.")],
    captions: Annotated[Path | None, typer.Option(help="csv (name, caption) or json file of captions.")] = None,
    mirror: Annotated[bool, typer.Option(help="Add each clip's mirror image.")] = False,
    parquet: Annotated[bool, typer.Option(help="Write motions.parquet as well.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes; that of the cores if not given.", min=1)
    ] = None,
    *,
    reading: FolderReading,
    as_json: Json = False,
) -> None:
    """Prepare a data set in HumanML3D's layout from motion files and captions.

    Example: lamp-hf prepare recordings/ -o dataset/ --mirror
    """
    from lamp_hf.data.preparation import prepare as prepare_folder

    done = prepare_folder(source, output, captions, mirror, parquet, workers, **reading)
    speed = (done.clips - done.kept) / max(done.seconds, 1e-9)
    result = {
        "output": str(output),
        "clips": done.clips,
        "kept": done.kept,
        "broken": done.broken,
        "seconds": round(done.seconds, 2),
        "clips_per_second": round(speed, 1),
    }
    lines = [f"{output}: {done.clips} clips, {done.kept} of them from before, {speed:.0f} per second"]
    lines += [f"left out: {name}: {reason}" for name, reason in list(done.broken.items())[:10]]
    lines += [f"{len(done.broken) - 10} more are in broken.csv"] * (len(done.broken) > 10)
    report(result, "\n".join(lines), as_json)
