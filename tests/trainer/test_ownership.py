"""One output folder belongs to one job: what another one finds there is never touched."""

import json
import os
import threading
from pathlib import Path

import pytest

from finetune_trainer import ownership, process
from finetune_trainer.errors import TrainerError
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story
from support.training import config

OURS = ("team/sums", "uid-1")


def test_the_same_job_comes_back_as_often_as_it_likes(tmp_path: Path) -> None:
    for _ in range(2):
        ownership.take(tmp_path, *OURS)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner"]


@pytest.mark.parametrize(
    ("job", "uid"),
    [
        pytest.param("team/other", "uid-2", id="another job"),
        pytest.param("team/sums", "uid-2", id="a job created anew under the same name"),
    ],
)
def test_another_job_is_refused(tmp_path: Path, job: str, uid: str) -> None:
    ownership.take(tmp_path, *OURS)

    with pytest.raises(TrainerError, match="belongs to FineTuneJob team/sums") as refusal:
        ownership.take(tmp_path, job, uid)

    assert (refusal.value.code, refusal.value.reason) == (78, "NameConflict")
    assert "another output.volume.path" in str(refusal.value)


@pytest.mark.parametrize("name", ["checkpoints", "result", "report.json"])
def test_what_nobody_is_known_to_have_written_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with pytest.raises(TrainerError, match=f"holds {name}, which no FineTuneJob"):
        ownership.take(tmp_path, *OURS)

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    ownership.take(tmp_path, *OURS)

    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """All of them have seen an empty folder before any of them writes."""
    together = threading.Barrier(8)
    won: list[int] = []

    def run(number: int) -> None:
        together.wait(10)
        try:
            ownership.take(tmp_path, f"team/job-{number}", f"uid-{number}")
        except TrainerError:
            return
        won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    owner = json.loads((tmp_path / "owner" / "job.json").read_text())
    assert owner == {"job": f"team/job-{won[0]}", "uid": f"uid-{won[0]}"}


def test_a_refused_job_leaves_everything_as_it_is(tmp_path: Path) -> None:
    """Not even half-written checkpoints, which the other job may be writing now."""
    out = tmp_path / "out"
    out.mkdir()
    ownership.take(out, "team/first", "uid-1")
    (out / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (out / ".result-half").mkdir()
    before = {path: os.stat(path).st_mtime_ns for path in out.rglob("*")}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config(tmp_path, tmp_path / "model", jobUid="uid-2")))

    report = process.run(file, Story(), Stop(lambda: None))

    assert (report.code, report.reason) == (78, "NameConflict")
    assert "team/first (uid uid-1)" in report.message
    assert {path: os.stat(path).st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param("result", id="in the result"),
        pytest.param("result/b/c", id="below the result"),
        pytest.param("checkpoints/checkpoint-3", id="in a checkpoint"),
        pytest.param("owner", id="in the owner's folder"),
        pytest.param("report.json", id="in place of the report"),
        pytest.param("resolved.json", id="in place of what was decided"),
        pytest.param(".result-b", id="where half a result would be"),
        pytest.param("sub/../result", id="in the result, by a detour"),
        pytest.param("link/b", id="in the result, by a link"),
    ],
)
@pytest.mark.parametrize("uid", ["uid-1", "uid-2"])
def test_a_folder_inside_what_a_job_writes_is_not_even_made(
    tmp_path: Path, inside: str, uid: str
) -> None:
    first = tmp_path / "y"
    (first / "sub").mkdir(parents=True)
    (first / "link").symlink_to("result")
    ownership.take(first, *OURS)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(TrainerError, match="of FineTuneJob team/sums") as refusal:
        ownership.take(first / inside, "team/other", uid)

    assert (refusal.value.code, refusal.value.reason) == (78, "NameConflict")
    assert "give another output.volume.path in a new FineTuneJob." in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("y/run-2", id="beside what the other job writes"),
        pytest.param("y/run-2/result", id="a folder of that name, further down"),
        pytest.param("result", id="beside the other job"),
    ],
)
def test_a_folder_that_no_job_writes_to_is_free(tmp_path: Path, path: str) -> None:
    ownership.take(tmp_path / "y", *OURS)

    ownership.take(tmp_path / path, "team/other", "uid-2")

    assert (tmp_path / path / "owner" / "job.json").is_file()


def test_the_job_around_a_finished_one_is_refused(tmp_path: Path) -> None:
    ownership.take(tmp_path / "y" / "result", "team/other", "uid-2")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(TrainerError, match="holds result, which no FineTuneJob") as refusal:
        ownership.take(tmp_path / "y", *OURS)

    assert refusal.value.reason == "NameConflict"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("guest", ["result", "result/b", "checkpoints/checkpoint-3"])
def test_a_job_stays_away_when_another_got_into_its_folder_before(
    tmp_path: Path, guest: str
) -> None:
    """As volumes have it from the time when only the folder itself was looked at."""
    ownership.take(tmp_path / "elsewhere", "team/other", "uid-2")
    ownership.take(tmp_path / "y", *OURS)
    (tmp_path / "y" / guest).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").rename(tmp_path / "y" / guest)

    with pytest.raises(TrainerError, match="the output of FineTuneJob team/other") as refusal:
        ownership.take(tmp_path / "y", *OURS)

    assert refusal.value.reason == "NameConflict"


def test_a_file_named_owner_above_is_no_owner(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("Ada")

    ownership.take(tmp_path / "result", *OURS)

    assert (tmp_path / "result" / "owner" / "job.json").is_file()
