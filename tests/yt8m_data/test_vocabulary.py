"""Vocabularies: class names by number, and what a file that holds none is told."""

import pytest

from yt8m_data import vocabulary
from yt8m_data.errors import DataError


def write(folder, text: str, encoding: str = "utf-8") -> str:
    path = folder / "vocabulary.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_names_by_number(tmp_path):
    path = write(tmp_path, 'Index,TrainVideoCount,Name\n1,30,"Fußball, Halle"\n0,50,Game\n2,7,\n')
    assert vocabulary.read(path) == {0: "Game", 1: "Fußball, Halle", 2: "class 2"}


def test_a_short_row_has_no_name(tmp_path):
    assert vocabulary.read(write(tmp_path, "Index,Name\n0,Game\n1\n")) == {0: "Game", 1: "class 1"}


@pytest.mark.parametrize("text", ["", "Index,Name\n", "Number,Name\n0,Game\n", "0,Game\n1,Car\n"])
def test_missing_columns(tmp_path, text):
    with pytest.raises(DataError, match=r"vocabulary\.csv lacks the columns 'Index' and 'Name'"):
        vocabulary.read(write(tmp_path, text))


@pytest.mark.parametrize("numbers", [(0, 2), (1, 2), (0, 0), ("a", "b"), (0, "")])
def test_numbers_with_gaps(tmp_path, numbers):
    with pytest.raises(DataError, match="does not number its 2 classes from 0 to 1"):
        vocabulary.read(write(tmp_path, "Index,Name\n" + "".join(f"{number},x\n" for number in numbers)))


def test_unreadable_files(tmp_path):
    for path in (str(tmp_path / "none.csv"), str(tmp_path), write(tmp_path, "Index,Name\n0,Fußball\n", "latin-1")):
        with pytest.raises(DataError, match="cannot be read"):
            vocabulary.read(path)


def test_verticals_by_number(tmp_path):
    path = write(tmp_path, "Index,Name,Vertical1,Vertical2\n1,Car,Autos,\n0,Game,Games,Arts\n2,Thing,,Arts\n3,Short\n")
    assert vocabulary.read_verticals(path) == {0: "Games", 1: "Autos", 2: "", 3: ""}
    with pytest.raises(DataError, match=r"vocabulary\.csv lacks the columns 'Index' and 'Vertical1'"):
        vocabulary.read_verticals(write(tmp_path, "Index,Name\n0,Game\n"))


@pytest.mark.shared_data
def test_the_published_vocabulary(shared_data):
    names = vocabulary.read(str(shared_data / "vocabulary-2018.csv"))
    assert list(names) == list(range(3862))
    assert [names[i] for i in range(2)] == ["Game", "Video game"]
    assert all(names.values())
    verticals = vocabulary.read_verticals(str(shared_data / "vocabulary-2018.csv"))
    assert verticals[0] == verticals[1] == "Games"
    assert 20 < len(set(verticals.values())) < 30
