"""NAS-Bench-201 look-ups against the published figures, and as users meet them."""

import csv
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nasjax import spaces, tabular
from nasjax.base import InputError
from nasjax.genotype import Genotype, format_arch_str
from nasjax.tabular import NASBench201
from tests.launching import ROOT, STARTED, Ended, Launcher, environment

SPACE = spaces.nasbench201()
SKIPS = (
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+"
    "|skip_connect~0|skip_connect~1|skip_connect~2|"
)
#: The published figures: of the cell of skips, where DARTS ends, and of the best.
DATASETS = ("cifar10", "cifar100", "imagenet16_120")
OF_SKIPS = dict(zip(DATASETS, (54.30, 15.61, 16.32), strict=True))
OF_BEST = dict(zip(DATASETS, (94.37, 73.51, 47.31), strict=True))

EVERY = [
    format_arch_str(tuple(zip(names, (0, 0, 1, 0, 1, 2), strict=True)))
    for names in itertools.product(SPACE.primitives, repeat=6)
]


def published_path() -> pathlib.Path:
    path = os.environ.get("NASJAX_NASBENCH201")
    if not path:
        pytest.skip("NASJAX_NASBENCH201 does not name the table of accuracies")
    return pathlib.Path(path)


@pytest.fixture(scope="module")
def published() -> NASBench201:
    return NASBench201.load(published_path())


@pytest.fixture(scope="module")
def published_rows() -> list[dict[str, str]]:
    path = published_path()
    path = path / "accuracies.csv" if path.is_dir() else path
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


#: A table made by hand: what is asked for here is known without the one published.
HEADER = ["index", "arch", "cifar10_test_200", "cifar100_valid_12", "params"]


def made() -> list[list[str]]:
    """Accuracies 0, 0.005, … in the order of the rows; the last two are equal."""
    accuracies = [min(0.005 * i, 0.005 * 15_623) for i in range(15_625)]
    return [
        [str(i), arch_str, repr(a), repr(100 - a), "x"]
        for i, (arch_str, a) in enumerate(zip(EVERY, accuracies, strict=True))
    ]


def write(path: pathlib.Path, rows, header=HEADER) -> pathlib.Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def made_path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write(tmp_path_factory.mktemp("made") / "made.csv", made())


# --- the published table ---------------------------------------------------------


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_published_figures(published, dataset):
    assert round(published.query(SKIPS, dataset=dataset), 2) == OF_SKIPS[dataset]
    best = published.best(dataset, "test", 200)
    assert round(best.accuracy, 2) == OF_BEST[dataset]
    found = published.lookup(best.arch_str, dataset=dataset)
    assert (found.rank, found.regret) == (1, 0.0)
    found = published.lookup(SKIPS, dataset=dataset)
    assert found.regret == pytest.approx(OF_BEST[dataset] - OF_SKIPS[dataset], abs=0.01)


def test_every_answer_is_the_row_of_its_string(published, published_rows):
    """Read once more, by the standard library's reader alone."""
    columns = [name for name in published_rows[0] if name not in ("index", "arch")]
    assert len(columns) == 9
    for column in columns:
        dataset, split, epochs = column.rsplit("_", 2)
        asked = {"dataset": dataset, "split": split, "epochs": int(epochs)}
        truth = {row["arch"]: float(row[column]) for row in published_rows}
        assert all(published.query(a, **asked) == v for a, v in truth.items())
        ordered = sorted(truth.values(), reverse=True)
        for arch_str in list(truth)[::997]:
            found = published.lookup(arch_str, **asked)
            assert found.accuracy == truth[arch_str]
            assert found.rank == 1 + ordered.index(truth[arch_str])
            assert found.regret == pytest.approx(ordered[0] - truth[arch_str])
            assert found[1:4] == (dataset, split, int(epochs))
            assert found.version == published.version


def test_the_table_is_the_whole_space(published):
    assert tabular.NUM_ARCHITECTURES == 15_625
    ranks = [published.lookup(arch_str).rank for arch_str in EVERY[::50]]
    assert 1 <= min(ranks) < max(ranks) <= 15_625


def test_isomorphic_cells_keep_their_own_rows(published):
    """Node 1 a copy of the input: reading either is the same computation."""
    one = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|"
    two = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|"
    assert published.query(one) != published.query(two)
    assert published.query(one) == pytest.approx(published.query(two), abs=1.0)


def test_the_folder_of_the_table_is_as_good_as_the_file(published):
    path = published_path()
    folder = path if path.is_dir() else path.parent
    assert NASBench201.load(folder).version == published.version


def test_a_saved_table_gives_the_same_answers(published, tmp_path):
    published.save(tmp_path / "copy.csv")
    copy = NASBench201.load(str(tmp_path / "copy.csv"))
    assert copy.columns == published.columns
    for arch_str in (SKIPS, *EVERY[::1000]):
        assert copy.lookups(arch_str) == published.lookups(arch_str)  # version too
    assert [path.name for path in tmp_path.iterdir()] == ["copy.csv"]


# --- a table made by hand --------------------------------------------------------


def test_rank_and_regret_of_a_table_made_by_hand(made_path):
    table = NASBench201.load(made_path)
    assert table.in_memory
    assert table.columns == (("cifar10", "test", 200), ("cifar100", "valid", 12))
    first, last = table.lookup(EVERY[0]), table.lookup(EVERY[-1])
    assert (first.rank, first.accuracy) == (15_625, 0.0)
    assert first.regret == pytest.approx(78.115)
    assert (last.rank, last.regret) == (1, 0.0)
    assert table.lookup(EVERY[-2]).rank == 1  # equals share the better rank
    assert table.lookup(EVERY[-3]).rank == 3
    assert table.best() == (last.accuracy, EVERY[-2])
    other = table.lookup(EVERY[0], dataset="cifar100", split="valid", epochs=12)
    assert (other.rank, other.accuracy, other.regret) == (1, 100.0, 0.0)
    assert re.fullmatch(r"made\.csv sha256:[0-9a-f]{8}", first.version)


def test_a_table_is_read_within_a_second(made_path):
    """The best of three, for other programs run beside the tests."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        NASBench201.load(made_path).query(SKIPS)
        times.append(time.perf_counter() - started)
    assert min(times) < 1.0


def test_the_benchmarks_spelling_of_a_data_set(published):
    mine = published.query(SKIPS, dataset="imagenet16_120")
    assert published.query(SKIPS, dataset="ImageNet16-120") == mine


BAD_QUESTIONS = [
    ({"dataset": "mnist"}, "dataset is 'mnist'; .* has cifar10, cifar100$"),
    ({"dataset": None}, "dataset is 'none'; .* has cifar10, cifar100$"),
    ({"split": "train"}, "split is 'train'; .* has test for cifar10$"),
    ({"epochs": 90}, "epochs is 90; .* has 200 for cifar10 test$"),
    ({"epochs": "200"}, "epochs is '200'; .* has 200 for cifar10 test$"),
    (
        {"dataset": "cifar100", "split": "valid"},
        "epochs is 200; .* has 12 for cifar100 valid$",
    ),
]


@pytest.mark.parametrize(("asked", "message"), BAD_QUESTIONS)
def test_what_a_table_does_not_have(made_path, asked, message):
    table = NASBench201.load(made_path)
    for ask in (table.query, table.lookup):
        with pytest.raises(InputError, match=message):
            ask(SKIPS, **asked)
    with pytest.raises(InputError, match=message):
        table.best(**asked)


BAD_ARCHITECTURES = [
    ("", "not a NAS-Bench-201 string of the form"),
    ("darts", "not a NAS-Bench-201 string of the form"),
    (SKIPS[:-1], "not a NAS-Bench-201 string of the form"),
    (SKIPS.replace("~2", "~1"), "not a NAS-Bench-201 string of the form"),
    ("|none~0|+|none~0|none~1|", "three nodes after its input"),
    (SKIPS + "+" + "".join(f"|none~{i}" for i in range(4)) + "|", "three nodes"),
    (
        SKIPS.replace("skip_connect~2", "sep_conv_3x3~2"),
        "operation 'sep_conv_3x3' of .* is not one of none, skip_connect, "
        "nor_conv_1x1, nor_conv_3x3, avg_pool_3x3$",
    ),
    (None, "an architecture is a text"),
]


@pytest.mark.parametrize(("arch_str", "message"), BAD_ARCHITECTURES)
def test_what_is_no_architecture(made_path, arch_str, message):
    table = NASBench201.load(made_path)
    for ask in (table.query, table.lookup, table.lookups):
        with pytest.raises(InputError, match=message) as caught:
            ask(arch_str)
        assert "\n" not in str(caught.value)


def changed(position: int, column: int, value: str) -> list[list[str]]:
    rows = made()
    rows[position][column] = value
    return rows


BAD_TABLES = {
    "empty": (lambda: [], [], "has the columns none; it needs arch"),
    "no arch": (made, ["index", "cell", *HEADER[2:]], "it needs arch"),
    "no accuracies": (made, ["index", "arch", "a", "b", "c"], "cifar10_test_200"),
    "one less": (lambda: made()[1:], HEADER, "15,624 rows for 15,624 architectures"),
    "one twice": (
        lambda: [*made(), made()[3]],
        HEADER,
        "15,626 rows for 15,625 architectures; it needs one for each of 15,625",
    ),
    "another space": (
        lambda: changed(5, 1, "|none~0|"),
        HEADER,
        "row for '|none~0|', not in the space",
    ),
    "short row": (lambda: [["1", "x"], *made()], HEADER, "row 1 of .* has 2 fields"),
    "words": (lambda: changed(7, 2, "good"), HEADER, "no table of accuracies: .*good"),
    "nan": (lambda: changed(7, 2, "nan"), HEADER, "not from 0 to 100"),
    "above": (lambda: changed(7, 3, "100.5"), HEADER, "not from 0 to 100"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_is_none(tmp_path, case):
    rows, header, message = BAD_TABLES[case]
    path = write(tmp_path / "table.csv", rows(), header)
    message = message.replace("|", r"\|")
    with pytest.raises(InputError, match=message) as caught:
        NASBench201.load(path)
    assert str(path) in str(caught.value)


def doubled(row: int) -> list[list[str]]:
    """One architecture in place of another, so that it stands twice."""
    rows = made()
    rows[row][1] = rows[row - 1][1]
    return rows


def each(column: int, form) -> list[list[str]]:
    """Every value of a column in another form."""
    rows = made()
    for row in rows:
        row[column] = form(float(row[column]))
    return rows


#: Rows, header and what the line says; every one has the right number of rows.
MISREAD = {
    "fractions": (
        lambda: each(2, lambda a: repr(a / 100)),
        HEADER,
        r"cifar10_test_200 of .* at most 0\.78.*: these are fractions, .*; multiply",
    ),
    "a column twice": (
        made,
        ["index", "arch", "cifar10_test_200", "cifar10_test_200", "params"],
        "has the column cifar10_test_200 twice; which is meant",
    ),
    "a column in two spellings": (
        made,
        ["index", "arch", "imagenet16_120_test_200", "ImageNet16-120_test_200", "x"],
        "has the column ImageNet16-120_test_200 twice",
    ),
    "two columns of strings": (
        made,
        ["arch", "arch", *HEADER[2:]],
        "has the column arch twice",
    ),
    "errors by name": (
        made,
        [*HEADER[:2], "cifar10_error_test_200", *HEADER[3:]],
        "cifar10_error_test_200 of .* holds no accuracies by its name",
    ),
    "one twice, one absent": (
        lambda: doubled(4),
        HEADER,
        "15,625 rows for 15,624 architectures.*: .*~2| stands twice",
    ),
    "one absent": (lambda: made()[1:], HEADER, r": |none~0|\+.*none~2| is absent$"),
    "no number": (
        lambda: changed(7, 2, "nan"),
        HEADER,
        "accuracies that are not from 0 to 100",
    ),
    "per cent signs": (lambda: changed(7, 2, "93.6%"), HEADER, "no table of .*93.6%"),
    "an empty field": (lambda: changed(7, 2, ""), HEADER, "no table of accuracies"),
    "thousands": (lambda: changed(7, 2, "1,234.5"), HEADER, "no table of accuracies"),
}


@pytest.mark.parametrize("case", MISREAD)
def test_a_table_that_could_be_misread_is_refused(tmp_path, case):
    rows, header, message = MISREAD[case]
    path = write(tmp_path / "table.csv", rows(), header)
    with pytest.raises(InputError, match=message.replace("|", r"\|")) as caught:
        NASBench201.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("of", [lambda a: 100 - a, lambda a: a / 100])
def test_other_units_of_the_published_table_are_refused(tmp_path, published_rows, of):
    """Column by column: each is seen by itself, not by what stands beside it."""
    for name in list(published_rows[0])[2:]:
        rows = [[row["arch"], repr(of(float(row[name])))] for row in published_rows]
        path = write(tmp_path / "table.csv", rows, ["arch", name])
        with pytest.raises(InputError, match=f"^{name} of .*: these are (err|frac)"):
            NASBench201.load(path)


def as_text(separator: str, point: str, *, quoted: bool = False) -> str:
    lines = [HEADER, *made()]
    for row in lines[1:]:
        row[2:4] = [text.replace(".", point) for text in row[2:4]]
        row[1] = f" {row[1].replace('+', ' + ')} "
    mark = '"' if quoted else ""
    return "\r\n".join(
        separator.join(f"{mark}{text}{mark}" for text in row) for row in lines
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("comma.csv", as_text(",", ".")),
        ("mark.csv", "\ufeff" + as_text(",", ".")),
        ("semicolon.csv", as_text(";", ",")),
        ("points.csv", as_text(";", ".")),
        ("tabulator.tsv", as_text("\t", ",")),
        ("upper.CSV", as_text("\t", ".")),
        ("quoted.csv", as_text(",", ",", quoted=True)),
        (
            "blanks.csv",
            as_text(",", ".").replace("cifar10_test_200,", " cifar10_test_200 ,"),
        ),
        ("capitals.csv", as_text(",", ".").replace("cifar100_valid", "CIFAR100_valid")),
    ],
)
def test_a_table_of_another_spelling_is_read(tmp_path, made_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    table, same = NASBench201.load(tmp_path / name), NASBench201.load(made_path)
    assert table.columns == same.columns
    for column in same.columns:
        asked = column._asdict()
        assert (table.accuracies(**asked) == same.accuracies(**asked)).all()
    assert table.query(SKIPS) == same.query(SKIPS)


def test_a_table_in_utf16_says_so(tmp_path):
    (tmp_path / "table.csv").write_text(as_text(",", "."), encoding="utf-16")
    with pytest.raises(InputError, match=r"no table in CSV: it is a text in UTF-16"):
        NASBench201.load(tmp_path / "table.csv")


def test_files_that_are_no_table(tmp_path):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "archive.tar").write_text("")
    (tmp_path / "NATS-sss-v1_0-50262.pickle.pbz2").write_text("")
    for name, message in (
        ("nothing", "nothing does not exist"),
        ("bytes.csv", "bytes.csv is no table in CSV"),
        ("folder.csv", "folder.csv cannot be read: Is a directory"),
        ("archive.tar", r"archive.tar is neither a \.csv file nor an archive"),
        ("", r"is neither a \.csv file nor an archive of NATS-Bench"),
        ("NATS-sss-v1_0-50262.pickle.pbz2", "size space"),
    ):
        with pytest.raises(InputError, match=message):
            NASBench201.load(tmp_path / name)


def test_saving_refuses_what_it_cannot_write(made_path, tmp_path):
    table = NASBench201.load(made_path)
    with pytest.raises(InputError, match=r"must end in \.csv"):
        table.save(tmp_path / "table.txt")
    with pytest.raises(InputError, match=r"cannot be written: .*/no is no folder"):
        table.save(tmp_path / "no" / "table.csv")
    assert list(tmp_path.iterdir()) == []


# --- look-ups as text ------------------------------------------------------------


def test_look_ups_go_through_json(made_path):
    lookups = NASBench201.load(made_path).lookups(SKIPS)
    assert tabular.from_json(tabular.to_json(SKIPS, lookups)) == (SKIPS, lookups)


def damaged(**fields) -> str:
    row = {"accuracy": 9, "dataset": "d", "split": "test", "epochs": 1}
    row |= {"version": "v", "rank": 1, "regret": 0}
    return json.dumps({"arch_str": SKIPS, "lookups": [row | fields]})


def test_damaged_look_ups_are_refused():
    assert tabular.from_json(damaged())[1][0].accuracy == 9
    for text in (
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"arch_str": 3, "lookups": []}',
        '{"arch_str": "x", "lookups": []}',
        '{"arch_str": "x", "lookups": {"a": 1}}',
        damaged(rank="1"),
        damaged(rank=1.5),
        damaged(accuracy=True),
        damaged(accuracy=10**400),
        damaged(dataset=None),
        damaged(more=1),
        damaged().replace('"rank": 1', '"rank": 2, "rank": 1'),
    ):
        with pytest.raises(InputError):
            tabular.from_json(text)


def test_the_headline_is_the_test_accuracy_after_the_longest_training(published):
    found = tabular.headline(published.lookups(SKIPS))
    assert [row[1:4] for row in found] == [(name, "test", 200) for name in DATASETS]
    assert tabular.headline([]) == ()


# --- NATS-Bench's own archive ----------------------------------------------------


def test_an_archive_asks_for_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nats_bench", None)  # as if not installed
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    (folder / "meta.pickle.pbz2").write_bytes(b"")
    for path in (folder, folder / "meta.pickle.pbz2"):
        with pytest.raises(InputError, match=r'pip install "nasjax\[nats\]"$'):
            NASBench201.load(path)


#: NATS-Bench's data set, set and epochs -> accuracies of two seeds in the archive.
SEEDS = (777, 888)
IN_ARCHIVE = {
    ("cifar10-valid", "x-valid", 200): (80.0, 81.0),
    ("cifar10-valid", "ori-test", 200): (1.0, 1.0),
    ("cifar10", "ori-test", 200): (90.0, 91.0),
    ("cifar100", "x-valid", 200): (60.0, 61.0),
    ("cifar100", "x-test", 200): (62.0, 63.0),
    ("cifar100", "ori-test", 200): (2.0, 2.0),
    ("ImageNet16-120", "x-valid", 200): (40.0, 41.0),
    ("ImageNet16-120", "x-test", 200): (42.0, 43.0),
    ("ImageNet16-120", "ori-test", 200): (3.0, 3.0),
    ("cifar10-valid", "x-valid", 12): (50.0, 51.0),
    ("cifar10", "ori-test", 12): (52.0, 53.0),
    ("cifar100", "x-valid", 12): (30.0, 31.0),
    ("cifar100", "x-test", 12): (32.0, 33.0),
    ("ImageNet16-120", "x-valid", 12): (20.0, 21.0),
    ("ImageNet16-120", "x-test", 12): (22.0, 23.0),
}


def results(index: int, fraction: float) -> dict:
    """An architecture as NATS-Bench stores it, by its own classes."""
    from nats_bench import ArchResults, ResultsCount

    stored = {}
    for epochs in (12, 200):
        arch = ArchResults(index, EVERY[index])
        for dataset in ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120"):
            for place, seed in enumerate(SEEDS):
                trial = ResultsCount(
                    dataset, None, {}, {}, 1.0, 1.0, {}, seed, epochs, None
                )
                for (of, name, length), values in IN_ARCHIVE.items():
                    if (of, length) == (dataset, epochs):
                        last = {epochs - 1: values[place] * fraction}
                        trial.update_OLD_eval(name, last, last)
                arch.update(dataset, seed, trial)
        stored[str(epochs)] = arch.state_dict()
    return stored


def of_archive(table: NASBench201, arch_str: str) -> dict[tuple, float]:
    return {c: table.query(arch_str, **c._asdict()) for c in table.columns}


#: Mean of the seeds in `IN_ARCHIVE`, by the names of this project.
EXPECTED = {
    ("cifar10", "valid", 200): 80.5,
    ("cifar10", "test", 200): 90.5,
    ("cifar100", "valid", 200): 60.5,
    ("cifar100", "test", 200): 62.5,
    ("imagenet16_120", "valid", 200): 40.5,
    ("imagenet16_120", "test", 200): 42.5,
    ("cifar10", "valid", 12): 50.5,
    ("cifar10", "test", 12): 52.5,
    ("cifar100", "valid", 12): 30.5,
    ("cifar100", "test", 12): 32.5,
    ("imagenet16_120", "valid", 12): 20.5,
    ("imagenet16_120", "test", 12): 22.5,
}


def test_the_folder_of_an_archive_is_read_as_it_is_asked(tmp_path):
    nats_bench = pytest.importorskip("nats_bench")
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    meta = {"meta_archs": EVERY, "total_archs": len(EVERY)}
    nats_bench.pickle_save(meta, folder / "meta.pickle")
    nats_bench.pickle_save(results(0, 1.0), folder / "000000.pickle")
    nats_bench.pickle_save(results(9, 0.5), folder / "000009.pickle")
    table = NASBench201.load(folder)
    assert table.version == "NATS-tss-v1_0-3ffb9-simple"
    assert not table.in_memory
    assert of_archive(table, EVERY[0]) == EXPECTED
    assert of_archive(table, EVERY[9]) == {c: v / 2 for c, v in EXPECTED.items()}
    with pytest.raises(InputError, match="simple cannot be read by nats_bench: "):
        table.query(EVERY[1])


def test_the_file_of_an_archive_becomes_a_table(tmp_path):
    nats_bench = pytest.importorskip("nats_bench")
    whole, half = results(0, 1.0), results(0, 0.5)
    content = {
        "meta_archs": EVERY,
        "arch2infos": {i: whole if i == 77 else half for i in range(len(EVERY))},
        "evaluated_indexes": list(range(len(EVERY))),
    }
    nats_bench.pickle_save(content, tmp_path / "NATS-tss-v1_0-3ffb9.pickle")
    table = NASBench201.load(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2")
    assert table.best() == (90.5, EVERY[77])
    found = table.lookup(EVERY[3])
    assert found == (
        *(45.25, "cifar10", "test", 200, "NATS-tss-v1_0-3ffb9"),
        *(2, 45.25),
    )
    table.save(tmp_path / "kept.csv")
    kept = NASBench201.load(tmp_path / "kept.csv")
    assert kept.lookups(EVERY[3]) == table.lookups(EVERY[3])


def test_an_archive_that_is_cut_off(tmp_path):
    pytest.importorskip("nats_bench")
    path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    path.write_bytes(b"BZh9")
    with pytest.raises(InputError, match="cannot be read by nats_bench: EOFError"):
        NASBench201.load(path)


# --- launches --------------------------------------------------------------------

QUICK = "--config=experiments/configs/stc_nas_nasbench201_digits.py:smoke"


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


def content(folder: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_search_looks_up_what_it_found(
    tmp_path, launcher: Launcher, made_path, compilation_cache: str
):
    folder = tmp_path / "run"
    flags = (
        QUICK,
        f"--workdir={folder}",
        f"--compilation_cache={compilation_cache}",
        f"--nasbench201={made_path}",
    )
    # The flag comes before the variable, of which nothing is said then.
    done = launcher(*flags, environment={"NASJAX_NASBENCH201": "/no/where"})
    assert (done.code, done.err) == (0, ""), done.err
    table = NASBench201.load(made_path)
    genotype = Genotype.from_json((folder / "genotype.json").read_text())
    found = table.lookups(genotype.arch_str)
    text = (folder / "lookup.json").read_text()
    assert tabular.from_json(text) == (genotype.arch_str, found)
    assert tabular.format_lookups(found[:1]) in done.out
    report = (folder / "report.html").read_text()
    for told in (
        f"{found[0].accuracy:.2f} %",
        f"{found[1].accuracy:.2f} %",
        f"{found[0].rank:,}",
        table.version,
    ):
        assert told in report

    before = content(folder)
    again = launcher(*flags)
    assert again.out == f"{folder} holds the finished run; nothing to do\n"
    assert content(folder) == before

    asked = look_up(str(folder), f"--nasbench201={made_path}")
    assert asked.out == f"{genotype.arch_str}\n{tabular.format_lookups(found)}\n"


@pytest.mark.parametrize("good", [True, False])
def test_the_variable_is_for_whoever_gives_no_flag(
    tmp_path, launcher: Launcher, made_path, compilation_cache: str, good: bool
):
    folder = tmp_path / "run"
    done = launcher(
        QUICK,
        f"--workdir={folder}",
        f"--compilation_cache={compilation_cache}",
        environment={"NASJAX_NASBENCH201": str(made_path) if good else "/no/where"},
    )
    assert done.code == 0, done.err
    assert (folder / "genotype.json").exists()
    assert (folder / "lookup.json").exists() == good
    warning = "warning: no look-up: NASJAX_NASBENCH201: /no/where does not exist\n"
    assert done.err == ("" if good else warning)


def refused(ended: Ended, *named: str) -> None:
    assert ended.code == 2, ended
    assert re.fullmatch(STARTED, ended.out), ended.out
    assert re.fullmatch(r"error: [^\n]*\n", ended.err), ended.err
    for part in named:
        assert part in ended.err


def test_a_flag_that_is_wrong_is_one_line_and_2(tmp_path, launcher: Launcher):
    short = write(tmp_path / "short.csv", made()[:9])
    folder = tmp_path / "run"
    for table, named in (
        ("/no/where", "/no/where does not exist"),
        (str(short), "needs one for each of 15,625"),
        (str(ROOT / "README.md"), "neither a .csv file nor an archive"),
    ):
        ended = launcher(QUICK, f"--workdir={folder}", f"--nasbench201={table}")
        refused(ended, "flag --nasbench201", named)
    ended = launcher(
        QUICK.replace("nasbench201", "darts"),
        f"--workdir={folder}",
        f"--nasbench201={short}",
    )
    refused(ended, "flag --nasbench201 is for its space, not for darts")
    assert not folder.exists()


def test_a_search_does_not_wait_for_an_archive(tmp_path):
    nats_bench = pytest.importorskip("nats_bench")
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    nats_bench.pickle_save({"meta_archs": EVERY}, folder / "meta.pickle")
    from experiments import search as launcher  # defines flags

    with pytest.raises(InputError, match=r"keep it as CSV: .* --save=FILE\.csv"):
        launcher._read_table(str(folder))


# --- the launcher of look-ups ----------------------------------------------------


def look_up(*arguments: str, **more: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.lookup", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(**more),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_the_look_up_of_a_string_and_of_a_genotype(tmp_path, made_path):
    expected = NASBench201.load(made_path).lookups(SKIPS)
    told = f"{SKIPS}\n{tabular.format_lookups(expected)}\n"
    file = tmp_path / "genotype.json"
    file.write_text(Genotype("nasbench201", arch_str=SKIPS).to_json())
    for arguments in (
        (SKIPS, f"--nasbench201={made_path}"),
        ("--nasbench201", str(made_path), str(file)),
    ):
        assert look_up(*arguments) == (0, told, "")
    assert look_up(str(tmp_path), NASJAX_NASBENCH201=str(made_path)) == (0, told, "")


def test_the_look_up_of_one_data_set(tmp_path, made_path):
    table = f"--nasbench201={made_path}"
    (tmp_path / "found.txt").write_text(SKIPS + "\n")
    told = look_up(str(tmp_path / "found.txt"), "--dataset=cifar100", table)
    rows = NASBench201.load(made_path).lookups(SKIPS)
    assert told == (0, f"{SKIPS}\n{tabular.format_lookups(rows[1:])}\n", "")
    ended = look_up(SKIPS, table, "--dataset=cifar100", "--split=test")
    refused(ended, "split is 'test'; the table made.csv", "has valid for cifar100\n")


def test_columns_are_selected_by_what_is_given(published):
    assert published.select(None, None, None) == published.columns
    found = published.select(None, "test", 200)
    assert [column.dataset for column in found] == list(DATASETS)
    with pytest.raises(InputError, match=r"epochs is 90; .* has 12 for valid$"):
        published.select(None, "valid", 90)


def test_the_look_up_keeps_the_table(tmp_path, made_path):
    kept = tmp_path / "kept.csv"
    ended = look_up(f"--nasbench201={made_path}", f"--save={kept}")
    assert ended == (0, f"{kept}\n", "")
    tables = [NASBench201.load(path) for path in (kept, made_path)]
    assert tables[0].lookups(SKIPS) == tables[1].lookups(SKIPS)


def test_look_ups_of_what_is_none(tmp_path, made_path):
    table = f"--nasbench201={made_path}"
    of_darts = Genotype(normal=(("none", 0),) * 2, reduce=(("none", 1),) * 2)
    (tmp_path / "genotype.json").write_text(of_darts.to_json())
    (tmp_path / "empty").mkdir()
    from experiments.lookup import read_architecture  # defines flags

    for text, message in (
        ("|none~0|", "three nodes"),
        ("nothing.json", r"nothing\.json is no file"),
        ("x" * 5000, "xxx cannot be read: File name too long"),
        (str(tmp_path / "empty"), r"empty/genotype\.json is no file"),
        (str(tmp_path), "genotype of darts"),
        ("DARTS_V2", "DARTS_V2 is a genotype of darts"),
        (str(made_path), r"made\.csv: 'index,arch,.* is not of the form"),
    ):
        with pytest.raises(InputError, match=message):
            read_architecture(text)

    refused(look_up(table, "|none~0|"), "three nodes")
    refused(look_up(table), "what to look up is missing")
    refused(look_up(SKIPS, NASJAX_NASBENCH201=""), "--nasbench201=PATH is missing")
    refused(look_up(SKIPS, "--nasbench201=x"), "flag --nasbench201: x does not exist")
    refused(look_up(SKIPS, SKIPS, table), "only flags", SKIPS)
