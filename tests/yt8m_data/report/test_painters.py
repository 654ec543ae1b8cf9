import os
import signal
import subprocess
import sys
import time

import pytest

from yt8m_data.report.html import write_report
from yt8m_data.report.painters import HERE, Drawing, Painters


def test_other_processes_draw_the_same_page(tmp_path, stage, zipfian):
    stages = [stage("Videos", zipfian, 120)]
    with Painters(2) as two:
        for name, painters in (("one", HERE), ("two", two)):
            (tmp_path / name).mkdir()
            page = tmp_path / name / "report.html"
            write_report(page, title="Title", stages=stages, names={}, command="command", versions={}, painters=painters)
    one, two = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two"))
    assert len(one) > 5
    assert one == two


def test_plots_come_in_the_order_of_the_drawings():
    found = [("Videos", {"labels_per_record": {"mean": 1.0, "histogram": [0, 3]}, "frames_per_record": {"mean": 9.0, "histogram": [1, 2]}})]
    drawings = [Drawing("lengths", draw, (found,)) for draw in ("labels_per_video", "frames_per_video")]
    with Painters(2) as painters:
        assert painters.draw(drawings)() == HERE.draw(drawings)()
    with Painters(2) as painters:
        assert painters.draw([])() == []


def test_painters_who_are_not_asked_end():
    with Painters(2) as painters:
        fork = os.fork()  # holds the other end of the pipes
        if not fork:
            time.sleep(60)
            os._exit(0)
    assert painters._beside.returncode == -signal.SIGKILL
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)


def test_painters_who_are_not_waited_for_end_too():
    with Painters(2) as painters:
        painters.draw([Drawing("lengths", "labels_per_video", ([("Videos", {"labels_per_record": {"mean": 0, "histogram": [1]}})],))])
    assert painters._beside.returncode == 0


def test_a_plot_that_cannot_be_drawn_is_an_error(capfd):
    with Painters(2) as painters, pytest.raises(RuntimeError, match="ended with status 1"):
        painters.draw([Drawing("lengths", "labels_per_video", ([("Videos", {})],))])()
    assert "KeyError: 'labels_per_record'" in capfd.readouterr().err


def test_who_has_others_draw_imports_no_matplotlib():
    code = (
        "import sys\n"
        "from yt8m_data.report import collect\n"
        "from yt8m_data.report.painters import Drawing, Painters\n"
        "found = [('Videos', {'labels_per_record': {'mean': 1.0, 'histogram': [0, 3]}})]\n"
        "[plot] = Painters(2).draw([Drawing('lengths', 'labels_per_video', (found,))])()\n"
        "print(plot.name, 'matplotlib' in sys.modules, 'scipy.cluster' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["labels_per_video", "False", "False"]
