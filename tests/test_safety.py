"""What comes from elsewhere is data: it is never run, and leads nowhere."""

import ast
import hashlib
import io
import json
import pathlib
import pickle
import tarfile

import numpy as np
import pytest

from nasjax import genotypes
from nasjax.base import InputError
from nasjax.data import load
from nasjax.data.files.prepare import SOURCES, prepare
from nasjax.interop import files
from nasjax.report import write_report
from nasjax.runtime.workdir import Workdir
from tests.launching import ROOT

SOURCE = sorted(
    path
    for folder in ("nasjax", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)
#: Modules that run what a file holds.
_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
#: Calls that do, or that write where a file says.
_CALLS = {"eval", "exec", "extractall", "extract", "unpack_archive", "system", "popen"}
#: Calls that are safe with an argument.
_GUARDED = {("np", "load"): "allow_pickle", ("torch", "load"): "weights_only"}


def dangers(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names.append(getattr(node, "module", None) or "")
            found += [n for n in names if n.split(".")[0] in _MODULES]
        if not isinstance(node, ast.Call):
            continue
        call = node.func
        name = getattr(call, "attr", getattr(call, "id", ""))
        owner = getattr(getattr(call, "value", None), "id", "")
        if name in _CALLS:
            found.append(name)
        guard = _GUARDED.get((owner, name))
        values = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if guard and values.get(guard) is not (guard == "weights_only"):
            found.append(f"{owner}.{name} without {guard}")
        if any(k.arg == "shell" for k in node.keywords):
            found.append("shell")
    return found


@pytest.mark.parametrize(
    "source", SOURCE, ids=[str(p.relative_to(ROOT)) for p in SOURCE]
)
def test_nothing_runs_what_a_file_holds(source: pathlib.Path):
    assert dangers(ast.parse(source.read_text())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import load", ["pickle"]),
        ("np.load(f)", ["np.load without allow_pickle"]),
        ("np.load(f, allow_pickle=True)", ["np.load without allow_pickle"]),
        ("np.load(f, allow_pickle=False)", []),
        ("torch.load(f, weights_only=False)", ["torch.load without weights_only"]),
        ("torch.load(f, weights_only=True)", []),
        ("tar.extractall(d)", ["extractall"]),
        ("eval(x)", ["eval"]),
        ("ast.literal_eval(x)", []),
        ("subprocess.run(x, shell=True)", ["shell"]),
    ],
)
def test_the_search_for_dangers_finds_them(text: str, found: list[str]):
    assert dangers(ast.parse(text)) == found


# --- attacks ---------------------------------------------------------------------


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: pathlib.Path):
        self._mark = mark

    def __reduce__(self):
        return pathlib.Path.mkdir, (self._mark,)


@pytest.fixture
def mark(tmp_path) -> pathlib.Path:
    """What an attack that succeeds would leave; the attack itself works."""
    mark = tmp_path / "pwned"
    pickle.loads(pickle.dumps(Evil(mark)))
    mark.rmdir()
    return mark


def evil_arrays(path: pathlib.Path, mark: pathlib.Path, *names: str) -> None:
    evil = np.array([Evil(mark)], object)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **dict.fromkeys(names, evil))


def test_pickled_data_is_refused(tmp_path, mark: pathlib.Path):
    evil_arrays(tmp_path / "data.npz", mark, "images", "labels")
    with pytest.raises(InputError, match="plain arrays"):
        load("npz", path=tmp_path / "data.npz")
    assert not mark.exists()


def test_pickled_alphas_are_refused(tmp_path, mark: pathlib.Path):
    evil_arrays(tmp_path / "alphas.npz", mark, "cell")
    with pytest.raises(InputError, match="cannot be read"):
        Workdir(tmp_path).rewind(0, 0)
    (tmp_path / "config.json").write_text('{"seed": 0}')
    assert "cannot be read in full" in write_report(tmp_path).read_text()
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".tar"])
def test_pickled_weights_are_refused(tmp_path, mark: pathlib.Path, suffix: str):
    torch = pytest.importorskip("torch")
    path = tmp_path / f"evil{suffix}"
    for write in (
        lambda evil: torch.save(evil, path),
        lambda evil: path.write_bytes(pickle.dumps(evil)),
    ):
        write({"state_dict": Evil(mark)})
        with pytest.raises(InputError, match="is not read"):
            files.read(path)
        assert not mark.exists()


def test_a_genotype_that_is_code_is_refused(tmp_path, mark: pathlib.Path):
    code = f"__import__('os').mkdir({str(mark)!r})"
    for text in (
        f"Genotype(normal={code}, normal_concat=[], reduce=[], reduce_concat=[])",
        f"X = Genotype(normal=[], normal_concat=range({code}), reduce=[], "
        "reduce_concat=[])",
        code,
    ):
        (tmp_path / "genotype.txt").write_text(text)
        with pytest.raises(InputError):
            genotypes.get(tmp_path / "genotype.txt")
        assert not mark.exists()


def test_an_archive_cannot_write_where_it_likes(tmp_path):
    """Names that lead out, absolute ones, links: nothing of it reaches the disk."""
    folder = SOURCES["cifar10"].folder
    archive = tmp_path / "evil.tar.gz"
    target = tmp_path / "target"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (
            f"../{target.name}",
            str(target),
            f"{folder}/../../{target.name}",
            f"{folder}/data_batch_1.bin/../../../{target.name}",
        ):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{folder}/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    checksum = hashlib.md5(archive.read_bytes()).hexdigest()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="must hold"):
        prepare("cifar10", data_dir=tmp_path / "d", archive=archive, checksum=checksum)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_report_escapes_all_it_shows(tmp_path):
    """Of every file that it reads, and of the folder's own name."""
    bad = "<img src=x onerror=alert(1)>\"'&"
    folder = tmp_path / bad.replace("/", "")
    folder.mkdir()
    row = {"step": 1, "epoch": 0, "phase": "train", "values": {bad: 1.0}}
    contents = {
        "config.json": {"seed": bad, "method": {"name": bad}, "data": bad, bad: 1},
        "environment.json": {"python": bad, bad: bad},
        "metrics.jsonl": row,
        "genotype.json": {"space": bad, "arch_str": "|none~0|", "source": bad},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content) + "\n")
    np.savez(folder / "alphas.npz", **{"<script>": np.zeros((2, 3, 2))})
    text = write_report(folder).read_text()
    assert "onerror=alert(1)&gt;" in text
    assert "<img" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
