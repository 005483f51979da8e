"""The verb check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lamp_hf

from .common import FileReading, Json, app, report, with_reading_options


if TYPE_CHECKING:
    from lamp_hf.motion.check import Report


@app.command()
@with_reading_options
def check(
    sources: Annotated[list[Path], typer.Argument(help="Motion files, or folders of them.")],
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page with all faults, and plots of them, here.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired safely, into --output.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="With --fix: a new file, or a folder for several.")
    ] = None,
    *,
    reading: FileReading,
    as_json: Json = False,
) -> None:
    """Look for faults in motion files: sliding feet, jumps, bent joints, stretched bones and others.

    The exit code is 1 if there is a fault; with --fix, if one is left.

    Example: lamp-hf check animations/ --html report.html
    """
    from lamp_hf.motion.check import check_file
    from lamp_hf.motion.check_report import report_page
    from lamp_hf.motion.files import printable, write_atomically
    from lamp_hf.motion.world import check_options

    check_options(reading["rig"], reading["unit"], reading["up"], reading["fps"])
    paths = _files(sources)
    if page is not None and page.suffix.lower() != ".html":
        raise ValueError(f"cannot write {page}: give an .html file")
    targets = _targets(paths, sources, output) if fix else {}
    if output is not None and not fix:
        raise ValueError("--output is where --fix writes: give --fix too")
    checked, fixed = {}, {}
    for path in paths:
        found, motion = check_file(path, **reading)
        if fix and motion is not None:
            found, motion = _write_fixed(motion, found, targets[path])
            fixed[printable(path)] = printable(targets[path])
        checked[printable(path)] = found, motion if page is not None else None
    if page is not None:
        write_atomically(page, lambda temporary: temporary.write_text(report_page(checked), encoding="utf-8"))
    faulty = {name: found for name, (found, _) in checked.items() if not found.passed}
    result = {
        "passed": not faulty,
        "files": {name: found.findings for name, (found, _) in checked.items()},
        **({"fixed": fixed} if fix else {}),
    }
    lines = [line for name, found in faulty.items() for line in _lines(name, found)]
    report(result, "\n".join([*lines, f"{len(paths)} files, {len(faulty)} with faults"]), as_json)
    if faulty:
        raise typer.Exit(1)


def _files(sources: list[Path]) -> list[Path]:
    """List files, those in folders among them."""
    from lamp_hf.motion.clip import motion_files

    paths = []
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"no such file or folder: {source}")
        paths += motion_files(source) if source.is_dir() else [source]
    if not paths:
        raise ValueError(f"{sources[0]}: no motion file in this folder")
    return paths


def _targets(paths: list[Path], sources: list[Path], output: Path | None) -> dict[Path, Path]:
    """Return where each repaired file is written: never over a file that is checked."""
    from lamp_hf.motion.clip import check_output_path

    if output is None:
        raise ValueError("--fix writes new files: say where, with -o FILE or -o FOLDER")
    if output.suffix and len(paths) == 1 and sources[0].is_file():
        targets = {paths[0]: check_output_path(output)}
    elif output.suffix:
        raise ValueError(f"{output} is one file, but {len(paths)} are checked: give a folder")
    else:
        roots = [source if source.is_dir() else source.parent for source in sources]
        root = {path: next(root for root in roots if path.is_relative_to(root)) for path in paths}
        names = {path: path.relative_to(root[path]) for path in paths}
        targets = {path: output / (name.with_suffix(".bvh") if name.suffix.lower() == ".amc" else name)
                   for path, name in names.items()}  # fmt: skip
    if len(set(targets.values())) < len(targets):
        raise ValueError("two files with the same name would be written to the same place: repair them one by one")
    if same := {path.resolve() for path in paths} & {target.resolve() for target in targets.values()}:
        raise ValueError(f"{min(same)} would be overwritten: give another file or folder")
    return targets


def _write_fixed(motion: lamp_hf.Motion, found: "Report", target: Path) -> "tuple[Report, lamp_hf.Motion]":
    from lamp_hf.motion.check import check
    from lamp_hf.motion.fix import fix

    if not found.passed:
        motion = fix(motion, found)
    target.parent.mkdir(parents=True, exist_ok=True)
    motion.save(target)
    return check(motion), motion


def _lines(name: str, found: "Report") -> list[str]:
    """Describe each fault in a line, in the form of compilers: file, place, what, advice."""
    lines = []
    for finding in found.findings:
        if finding["value"] is None:
            lines.append(f"{name}: {finding['kind']}: {finding['reason']}")
            continue
        joint = f" of {finding['joint']}" if finding["joint"] else ""
        size = f"{finding['value']:.3g} {finding['unit']} against {finding['limit']:.3g}"
        times = f"{finding['start']:.2f}-{finding['end']:.2f} s"
        lines.append(f"{name}: {times}: {finding['kind']}{joint}, {size}; {finding['advice']}")
    return lines
