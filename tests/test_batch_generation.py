"""Motions for a file of prompts: resumed, shared by processes, none generated twice."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import free_port
from transformers import pipeline

import lamp_hf
from lamp_hf.batch_generation import Prompt, generate_files, read_prompts
from lamp_hf.data.prompts import read_prompt_table


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


def test_existing_motions_are_kept_and_bad_prompts_fail_alone(pipe, tmp_path):
    prompts = [
        Prompt("bow", "she bows", 1.0, 3),
        Prompt("walk", "a person walks", None, 4),
        Prompt("bad", "x " * 99, 1.0, 0),
    ]
    first = generate_files(pipe, prompts, tmp_path, "npz")
    assert (first.made, first.kept, list(first.failed)) == (2, 0, ["bad"])
    motion = lamp_hf.Motion.load(tmp_path / "bow.npz")
    np.testing.assert_allclose(motion.joints, pipe("she bows", duration=1.0, seed=3)["joints"], atol=1e-4)
    (tmp_path / "walk.npz").unlink()
    before = (tmp_path / "bow.npz").stat().st_mtime_ns
    again = generate_files(pipe, prompts[:2], tmp_path, "npz")
    assert (again.made, again.kept) == (1, 1)
    assert (tmp_path / "bow.npz").stat().st_mtime_ns == before


def test_unfamiliar_prompts_are_reported_and_the_best_candidate_is_written(familiar_folder, tmp_path):
    pipe = pipeline("text-to-motion", model=str(familiar_folder))
    prompts = [Prompt("bow", "she bows", 1.0, 3), Prompt("odd", "person forward left hand", 1.0, 4)]
    with pytest.warns(lamp_hf.UnfamiliarPromptWarning) as caught:
        done = generate_files(pipe, prompts, tmp_path, "npz", num_candidates=3)
    assert len(caught) == 1 and list(done.unfamiliar) == ["odd"] and len(done.unfamiliar["odd"]) == 3
    best = pipe("she bows", duration=1.0, seed=3, num_candidates=3)["joints"]
    np.testing.assert_allclose(lamp_hf.Motion.load(tmp_path / "bow.npz").joints, best, atol=1e-4)
    assert generate_files(pipe, prompts, tmp_path, "npz", num_candidates=3).kept == 2
    assert generate_files(pipe, prompts[:1], tmp_path, "npz").made == 1  # other options, other motions


def test_a_motion_whose_prompt_changed_is_generated_again(pipe, tmp_path):
    generate_files(pipe, [Prompt("bow", "she bows", 1.0, 3)], tmp_path, "npz")
    again = generate_files(pipe, [Prompt("bow", "she bows", 2.0, 3)], tmp_path, "npz")
    assert (again.made, again.kept) == (1, 0)
    assert lamp_hf.Motion.load(tmp_path / "bow.npz").num_frames == 40


@pytest.mark.slow
def test_processes_share_the_prompts_and_a_later_run_keeps_what_all_of_them_made(model_folder, tmp_path):
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port"]
    launch += [str(free_port()), "-m", "lamp_hf"]
    made = []
    for lines, way in (
        (["she bows", "a man walks", "a person walks"], launch),
        (["she bows", "a man turns", "a person walks"], ["-m", "lamp_hf"]),
    ):
        (tmp_path / "prompts.txt").write_text("\n".join(lines))
        command = [*way, "generate", "--prompts", str(tmp_path / "prompts.txt"), "-o", str(tmp_path / "motions")]
        done = subprocess.run(
            [sys.executable, *command, "--model", str(model_folder), "--json"],
            capture_output=True, text=True, timeout=300,
            env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        texts = [lamp_hf.Motion.load(path).text for path in sorted((tmp_path / "motions").glob("*.npz"))]
        assert texts == lines
        made.append(sum(json.loads(line)["made"] for line in done.stdout.splitlines()))
    assert made == [3, 1]


def test_one_file_of_prompts_serves_generation_and_evaluation(tmp_path):
    (tmp_path / "prompts.csv").write_text("text,family,stratum\nshe bows,bow,slow\n")
    prompts, refused = read_prompts(tmp_path / "prompts.csv", 0)
    assert [prompt.text for prompt in prompts] == ["she bows"] and not refused
    assert read_prompt_table(tmp_path / "prompts.csv")["000001"].family == "bow"


def test_a_killed_run_leaves_a_record_that_the_next_can_read(pipe, tmp_path):
    prompts = [Prompt("bow", "she bows", 1.0, 3), Prompt("walk", "a man walks", 1.0, 3)]
    generate_files(pipe, prompts[:1], tmp_path, "npz")
    with open(tmp_path / "prompts_0.jsonl", "a") as record:
        record.write('\n["walk.npz", ["a man')
    again = generate_files(pipe, prompts, tmp_path, "npz")
    assert (again.made, again.kept) == (1, 1)
    assert generate_files(pipe, prompts, tmp_path, "npz").kept == 2


def test_the_latest_record_counts_whichever_file_was_touched_last(pipe, tmp_path):
    generate_files(pipe, [Prompt("walk", "a man walks", 1.0, 3)], tmp_path, "npz")
    os.rename(tmp_path / "prompts_0.jsonl", tmp_path / "prompts_1.jsonl")  # another process's
    generate_files(pipe, [Prompt("walk", "a man turns", 1.0, 3)], tmp_path, "npz")
    os.utime(tmp_path / "prompts_1.jsonl", (time.time() + 9, time.time() + 9))
    assert generate_files(pipe, [Prompt("walk", "a man turns", 1.0, 3)], tmp_path, "npz").kept == 1
    assert generate_files(pipe, [Prompt("walk", "a man walks", 1.0, 3)], tmp_path, "npz").made == 1


def test_a_motion_is_generated_again_with_other_options(pipe, tmp_path):
    prompts = [Prompt("bow", "she bows", 1.0, 3)]
    generate_files(pipe, prompts, tmp_path, "npz")
    before = lamp_hf.Motion.load(tmp_path / "bow.npz").joints
    assert generate_files(pipe, prompts, tmp_path, "npz", temperature=0.0).made == 1
    assert not np.array_equal(before, lamp_hf.Motion.load(tmp_path / "bow.npz").joints)


def test_a_run_cut_short_and_one_in_other_batches_give_the_same_files(pipe, tmp_path):
    prompts = [Prompt(str(i), "First, she bows.", 1.0 + 0.2 * (i % 3), i) for i in range(5)]
    generate_files(pipe, prompts[:2], tmp_path / "a", "npz")
    generate_files(pipe, prompts, tmp_path / "a", "npz", batch_size=1)
    generate_files(pipe, prompts, tmp_path / "b", "npz", batch_size=4)
    for prompt in prompts:
        one, other = (lamp_hf.Motion.load(tmp_path / part / f"{prompt.name}.npz").joints for part in "ab")
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_sentence_that_names_an_order_becomes_a_sequence(pipe, tmp_path):
    text = "she bows, then walks"
    generate_files(pipe, [Prompt("both", text, 2.0, 3), Prompt("bow", "she bows", 1.0, 3)], tmp_path, "npz")
    wanted = pipe(text, mode="sequence", duration=2.0, seed=3)["joints"]
    np.testing.assert_allclose(lamp_hf.Motion.load(tmp_path / "both.npz").joints, wanted, atol=1e-4)


def test_prompts_are_read_from_text_and_csv(tmp_path):
    (tmp_path / "a.txt").write_text("she bows\n\n a man walks \n")
    prompts = [Prompt("000001", "she bows", None, 5), Prompt("000003", "a man walks", None, 7)]
    assert read_prompts(tmp_path / "a.txt", 5) == (prompts, {})
    (tmp_path / "a.csv").write_text("text,name,duration,seed\nshe bows,bow,2.5,\na man,man,,9\n")
    prompts = [Prompt("bow", "she bows", 2.5, 0), Prompt("man", "a man", None, 9)]
    assert read_prompts(tmp_path / "a.csv", 0) == (prompts, {})
    (tmp_path / "a.csv").write_text('text\n"she\nbows"\n')
    assert read_prompts(tmp_path / "a.csv", 0)[0][0].text == "she bows"
    (tmp_path / "a.jsonl").write_text('{"text": "she bows"}\n')
    with pytest.raises(ValueError, match=r"neither a \.txt"):
        read_prompts(tmp_path / "a.jsonl", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,duration\na,1\n", r"has columns \['name', 'duration'\]; required: text"),
        ("text,Duration\nwalk,1\n", "has columns .*'Duration'"),
        ("text,duration\nwalk,soon\n", "row 1: duration and seed must be numbers"),
        ("text,name\nwalk,../a\n", "plain file names"),
        ("text\n", "holds no sentence"),
        ("text,name\nwalk, then run,a\n", "row 1: more fields than columns"),
        ("text,seed\nwalk,100000000000000000000\n", "row 1: a seed is"),
    ],
)
def test_bad_files_of_prompts_are_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_prompts(tmp_path / "a.csv", 0)


def test_a_bad_row_of_a_table_fails_alone(tmp_path):
    (tmp_path / "a.csv").write_text(
        "text,name,duration,seed\nbow,a,1,2\nwalk, then run,b,1,2\nwalk,c,soon,\nwalk,d,,-1\nrun,a,,\nrun,../e,,\n"
        "\nrun,f,2,\n'=run,'-g,,\n"
    )
    prompts, refused = read_prompts(tmp_path / "a.csv", 0)
    assert prompts == [Prompt("a", "bow", 1, 2), Prompt("f", "run", 2, 6), Prompt("-g", "=run", None, 7)]
    assert {row: reason.split(",")[0].split(":")[0] for row, reason in refused.items()} == {
        "row 2": "more fields than columns; a text with commas needs quotes",
        "row 3": "duration and seed must be numbers",
        "row 4": f"a seed is a whole number from 0 to {2**63 - 1}",
        "row 5": "names must differ",
        "row 6": "names must be plain file names",
    }


def test_the_command_generates_the_good_rows_and_names_the_bad_one(model_folder, tmp_path, monkeypatch, capsys):
    from lamp_hf.cli import app

    (tmp_path / "prompts.csv").write_text("text,name\nshe bows,bow\na man walks, then runs,walk\n")
    arguments = ["generate", "--prompts", str(tmp_path / "prompts.csv"), "-o", str(tmp_path / "motions")]
    app([*arguments, "--model", str(model_folder), "--json"], standalone_mode=False)
    done = json.loads(capsys.readouterr().out)
    assert done["made"] == 1 and list(done["failed"]) == ["row 2"]
    assert [path.name for path in (tmp_path / "motions").glob("*.npz")] == ["bow.npz"]
