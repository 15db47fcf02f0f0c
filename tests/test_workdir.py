"""The files of a run: whole or absent, and cut back to the checkpoint."""

import json
import pathlib
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from nasjax import spaces
from nasjax.base import InputError, RunError
from nasjax.genotype import Genotype
from nasjax.runtime.workdir import Workdir, differences, safe_name, write_atomically
from nasjax.spaces import derive
from tests.launching import ROOT, environment

CONFIG = {"seed": 0, "data": {"name": "digits"}, "search": {"epochs": 2}}


def opened(folder: pathlib.Path) -> Workdir:
    workdir = Workdir(folder)
    workdir.check(CONFIG)
    workdir.open(CONFIG)
    return workdir


# --- configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "here", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a is 1 there and 2 here"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ["a.b is 'x' there and 'y' here"]),
        ({"a": 1}, {}, ["a is 1 there and None here"]),
        ({}, {"a": {"b": 1}}, ["a.b is None there and 1 here"]),
        ({"a": {"b": {"c": 1}}}, {}, ["a.b.c is 1 there and None here"]),
        ({"a": None}, {}, []),
        ({"a": {"b": 1}}, {"a": 1}, ["a is {'b': 1} there and 1 here"]),
        (
            {"b": 1, "a": {"d": 1, "c": 1}},
            {"b": 2, "a": {"d": 2, "c": 2}},
            [f"{name} is 1 there and 2 here" for name in ("a.c", "a.d", "b")],
        ),
    ],
)
def test_differences_are_named_with_both_values(there, here, found: list[str]):
    assert differences(there, here) == found


def test_a_folder_of_the_same_configuration_is_taken(tmp_path):
    config = CONFIG | {"method": {"noise_range": (0.3, 0.0)}}  # a tuple: JSON has none
    workdir = Workdir(tmp_path / "new" / "run")
    workdir.check(config)
    workdir.open(config)
    workdir.close()
    Workdir(workdir.folder).check(config)
    read = json.loads((workdir.folder / "config.json").read_text())
    assert read["method"]["noise_range"] == [0.3, 0.0]
    assert read["search"] == {"epochs": 2}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"data": {"name": "npz"}}, "data.name is 'digits' there and 'npz' here"),
        ({"search": {}}, "search.epochs is 2 there and None here"),
        ({"extra": True}, "extra is None there and True here"),
    ],
)
def test_a_folder_of_another_configuration_is_refused(tmp_path, other, named: str):
    opened(tmp_path).close()
    with pytest.raises(InputError) as raised:
        Workdir(tmp_path).check(CONFIG | other)
    message = str(raised.value)
    assert message.startswith(f"workdir {tmp_path} holds another run: {named}")
    assert message.endswith("give another --workdir")


def test_checking_writes_nothing(tmp_path):
    Workdir(tmp_path / "absent").check(CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(InputError, match="is a file, not a folder"):
        Workdir(file).check(CONFIG)
    with pytest.raises(InputError, match=f"cannot be written below {file}"):
        Workdir(file / "below" / "it").check(CONFIG)
    with pytest.raises(InputError, match="cannot be written"):
        Workdir(file / "below").open(CONFIG)
    assert file.read_text() == "kept"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "\udcff"])
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path, text: str):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        Workdir(tmp_path).check(CONFIG)


# --- files -----------------------------------------------------------------------


@pytest.fixture
def small_disk():
    """Files may grow to 100 bytes: what a full disk does, to this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limit:
        def __enter__(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

        def __exit__(self, *exception):
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return Limit()


@pytest.mark.parametrize("old", [None, "the old text"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, small_disk, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(OSError, match="File too large"), small_disk:
        write_atomically(path, "x" * 10_000)
    assert (path.read_text() if path.exists() else None) == old
    # And the next one succeeds in spite of what the failure left.
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_alphas_that_cannot_be_written_leave_the_old_ones(tmp_path, small_disk):
    workdir = opened(tmp_path)
    workdir.write_alphas([{"cell": np.zeros((6, 5))}])
    before = (tmp_path / "alphas.npz").read_bytes()
    with pytest.raises(RunError, match="File too large"), small_disk:
        workdir.write_alphas([{"cell": np.ones((6, 5))}] * 2)
    workdir.close()
    assert (tmp_path / "alphas.npz").read_bytes() == before


@pytest.mark.parametrize("data", ["text ←", b"\x00\xff"])
def test_a_write_replaces_the_file(tmp_path, data):
    path = tmp_path / "file"
    for content in ("old and much longer than the new", data):
        write_atomically(path, content)
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())


def test_a_genotype_finishes_the_run(tmp_path):
    workdir = opened(tmp_path)
    assert not workdir.finished
    space = spaces.nasbench201()
    genotype = derive(space, {"cell": np.eye(5)[[1, 2, 3, 4, 0, 1]]})
    workdir.write_genotype(genotype)
    workdir.close()
    assert Workdir(tmp_path).finished
    text = (tmp_path / "genotype.json").read_text()
    assert Genotype.from_json(text) == genotype
    assert genotype.arch_str == (
        "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_3x3~1|"
        "+|avg_pool_3x3~0|none~1|skip_connect~2|"
    )


def test_the_environment_is_described(tmp_path):
    workdir = opened(tmp_path)
    workdir.describe(config_file="a.py:smoke")
    workdir.close()
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["config_file"] == "a.py:smoke"
    assert {"python", "jax", "jaxlib", "nasjax", "device", "num_devices"} <= set(found)


def events(folder: pathlib.Path) -> list[tuple[str, int, float]]:
    """Scalars in the TensorBoard files, read by their format.

    A record is its length in eight bytes, their CRC, the data, its CRC.
    """
    return [
        (value.tag, event.step, value.simple_value)
        for file in sorted(folder.glob("events.out.tfevents.*"))
        for event in records(file)
        for value in event.summary.value
    ]


def records(file: pathlib.Path) -> Iterator[event_pb2.Event]:
    data = file.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_metrics_go_to_both_files(tmp_path):
    workdir = opened(tmp_path)
    workdir.log("train", step=3, epoch=0, values={"loss": 0.5, "accuracy": 1.0})
    workdir.log("valid", step=3, epoch=0, values={"loss": 0.25})
    workdir.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert lines == [
        {
            "step": 3,
            "epoch": 0,
            "phase": "train",
            "values": {"loss": 0.5, "accuracy": 1.0},
        },
        {"step": 3, "epoch": 0, "phase": "valid", "values": {"loss": 0.25}},
    ]
    assert events(tmp_path) == [
        ("train/loss", 3, 0.5),
        ("train/accuracy", 3, 1.0),
        ("valid/loss", 3, 0.25),
    ]


# --- back to a checkpoint --------------------------------------------------------


def logged(folder: pathlib.Path, steps: int = 6) -> Workdir:
    """Two epochs of three steps, and an alpha before and after each."""
    workdir = opened(folder)
    for step in range(1, steps + 1):
        epoch = (step - 1) // 3
        workdir.log("train", step=step, epoch=epoch, values={"loss": 1 / step})
    alphas = [{"cell": np.full((6, 5), i / 3, np.float32)} for i in range(3)]
    workdir.write_alphas(alphas)
    workdir.close()
    return workdir


@pytest.mark.parametrize("step", [0, 2, 3, 6, 7])
def test_rewinding_keeps_what_the_checkpoint_has_seen(tmp_path, step: int):
    workdir = logged(tmp_path)
    history = workdir.rewind(step, step // 3)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()]
    assert steps == list(range(1, min(step, 6) + 1))
    assert len(history) == step // 3 + 1
    for epoch, alpha in enumerate(history):
        np.testing.assert_array_equal(
            alpha["cell"], np.full((6, 5), epoch / 3, np.float32)
        )
        assert alpha["cell"].dtype == np.float32


@pytest.mark.parametrize(
    "rest",
    ['{"step": 2, "epo', '{"step": 2', "\x00\x00\x00", "[]", "7", '{"epoch": 1}\n', ""],
)
def test_rewinding_cuts_a_line_that_was_half_written(tmp_path, rest: str):
    workdir = logged(tmp_path)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    with path.open("a") as file:
        file.write(rest)
    workdir.rewind(6, 2)
    assert path.read_text() == whole
    # What is logged next stands on a line of its own.
    again = Workdir(tmp_path)
    again.open(CONFIG)
    again.log("train", step=7, epoch=2, values={"loss": 0.0})
    again.close()
    assert json.loads(path.read_text().splitlines()[-1])["step"] == 7


def test_rewinding_an_empty_folder_finds_nothing(tmp_path):
    workdir = opened(tmp_path)
    assert workdir.rewind(0, 0) == []
    workdir.close()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_result_goes_with_what_came_after_the_checkpoint(tmp_path):
    workdir = logged(tmp_path)
    workdir.open(CONFIG)
    workdir.log("result", step=6, epoch=1, values={"loss": 0.0})
    workdir.rewind(6, 2)
    workdir.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [row["phase"] for row in rows] == ["train"] * 6


@pytest.mark.parametrize("torn", ["", '{"step": 0, "epo'])
def test_a_run_without_a_whole_line_of_metrics_is_new(tmp_path, torn: str):
    """Killed in its first line, it logs it again, once."""
    (tmp_path / "metrics.jsonl").write_text(torn)
    workdir = Workdir(tmp_path)
    assert workdir.open(CONFIG)
    workdir.log("budget", step=0, epoch=0, values={})
    workdir.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    assert not Workdir(tmp_path).open(CONFIG)


def test_tensorboard_is_told_what_to_leave_out(tmp_path):
    workdir = logged(tmp_path)
    workdir.open(CONFIG)
    workdir.rewind(4, 1)
    (tmp_path / "other").mkdir()
    for file in tmp_path.glob("events.out.tfevents.*"):
        file.rename(tmp_path / "other" / file.name)
    workdir.log("train", step=5, epoch=1, values={"loss": 0.0})
    workdir.close()
    (file,) = tmp_path.glob("events.out.tfevents.*")
    found = [event.step for event in records(file) if event.HasField("session_log")]
    assert found == [5]
    assert events(tmp_path) == [("train/loss", 5, 0.0)]


def test_events_that_cannot_be_written_are_told_once(tmp_path, small_disk, capsys):
    workdir = opened(tmp_path)
    workdir.log("train", step=1, epoch=0, values={"loss": 0.0})
    long = {f"loss_{i}": 0.0 for i in range(1000)}
    with small_disk:
        for _ in range(3):
            workdir._events.add(long, 2)
            workdir._events.close()
    assert capsys.readouterr().err == (
        f"warning: no more TensorBoard events in {tmp_path}: File too large\n"
    )
    workdir.log("train", step=3, epoch=0, values={"loss": 0.0})
    workdir.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_metrics_that_cannot_be_written_are_told(tmp_path, small_disk):
    workdir = opened(tmp_path)
    with (
        pytest.raises(RunError, match=r"metrics\.jsonl cannot be written") as raised,
        small_disk,
    ):
        workdir.log("train", step=1, epoch=0, values={"x" * 100: 0.0})
    workdir.close()
    assert "the same command goes on" in str(raised.value)


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    opened(tmp_path).close()
    (tmp_path / "alphas.npz.part").write_bytes(b"PK")
    opened(tmp_path).close()
    assert not list(tmp_path.glob("*.part"))


# --- one process at a time -------------------------------------------------------

_HOLD = """
import sys
from nasjax.runtime.workdir import Workdir
workdir = Workdir(sys.argv[1])
workdir.open({"seed": 0, "data": {"name": "digits"}, "search": {"epochs": 2}})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A second real process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_until_its_process_ends(tmp_path, holder):
    expected = (
        f"workdir {tmp_path} is in use by process {holder.pid} on "
        f"{socket.gethostname()}; wait for its end or give another --workdir"
    )
    for refused in (Workdir.check, Workdir.open):
        with pytest.raises(InputError) as raised:
            refused(Workdir(tmp_path), CONFIG)
        assert str(raised.value) == expected
    # However it ends: the system gives the folder back.
    holder.kill()
    holder.wait()
    opened(tmp_path).close()


def test_a_folder_is_given_back(tmp_path):
    workdir = opened(tmp_path)
    workdir.check(CONFIG)  # one's own
    with pytest.raises(InputError, match="is in use"):
        Workdir(tmp_path).check(CONFIG)
    workdir.close()
    opened(tmp_path).close()


#: A process of a system without fcntl and resource; what it prints last is asked for.
_WITHOUT = """
import errno, fcntl as real, subprocess, sys, types
import jax  # both ask for msvcrt to know Windows
for name in ("fcntl", "resource"):
    sys.modules[name] = None
def locking(file, mode, count):
    assert count == 1
    try:
        real.flock(file, real.LOCK_UN if mode == 0 else real.LOCK_EX | real.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EACCES, "Permission denied") from None
if sys.argv[2] == "msvcrt":
    sys.modules["msvcrt"] = types.SimpleNamespace(
        locking=locking, LK_NBLCK=2, LK_UNLCK=0
    )
from nasjax.runtime import budget
from nasjax.base import InputError
from nasjax.runtime.workdir import Workdir
import experiments.search
budget.check_fits("a step", 10**12)
config = {"seed": 0}
one, other = Workdir(sys.argv[1]), Workdir(sys.argv[1])
one.check(config)
one.open(config)
for refused in (other.check, other.open):
    try:
        refused(config)
        print("taken")
        other.close()
    except InputError as error:
        print(error)
one.close()
other.open(config)
other.close()
"""


@pytest.mark.parametrize("system", ["msvcrt", "none"])
def test_a_system_without_fcntl_has_another_lock_or_says_so(tmp_path, system):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, str(tmp_path), system],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    warned = "cannot be locked (this system has neither fcntl nor msvcrt)"
    if system == "msvcrt":
        assert [
            f"workdir {tmp_path} is in use by process" in line for line in told
        ] == [
            True,
            True,
        ]
        assert warned not in done.stderr
    else:
        assert told == ["taken", "taken"]
        assert f"warning: {tmp_path} {warned}" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "a_b-seed0",
        "../../etc/passwd",
        "/etc",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "",
        "ü\n",
    ],
)
def test_a_name_is_one_folder_below_its_parent(tmp_path, text: str):
    name = safe_name(text)
    path = (tmp_path / name).resolve()
    assert path.parent == tmp_path.resolve()
    assert not name.startswith(".")
    assert safe_name(name) == name
