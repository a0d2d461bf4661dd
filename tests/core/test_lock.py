import subprocess
import sys
import tempfile
import threading
import time

import pytest

from wieldy.core import lock
from wieldy.core.errors import InternalError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")

HOLD = """
import sys, tempfile
tempfile.tempdir = sys.argv[2]
from wieldy.core import lock
print("waiting", flush=True)
with getattr(lock, sys.argv[1])():
    print("inside", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    """A lock of the test's own, which no other worker on this machine waits for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Other:
    """Another process that holds the lock until told to leave."""

    def __init__(self, how, folder):
        command = [sys.executable, "-c", HOLD, how, str(folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.lines = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def says(self, word, seconds=10.0):
        end = time.monotonic() + seconds
        while word not in self.lines and time.monotonic() < end:
            time.sleep(0.005)
        return word in self.lines

    def leave(self):
        self.process.communicate("\n")
        self.reader.join()


@pytest.fixture
def start(tmp_path):
    made = []

    def begin(how):
        made.append(Other(how, tmp_path))
        assert made[-1].says("waiting")
        return made[-1]

    yield begin
    for other in made:
        if other.process.poll() is None:
            other.process.kill()
            other.process.wait()
        other.reader.join()
        other.process.stdin.close()
        other.process.stdout.close()


@pytest.mark.parametrize(("inside", "outside"), [("measuring", "working"), ("working", "measuring"),
                                                 ("measuring", "measuring")])  # fmt: skip
def test_a_measurement_and_other_work_exclude_each_other(start, inside, outside):
    with getattr(lock, inside)():
        other = start(outside)
        assert not other.says("inside", seconds=0.3)
    assert other.says("inside")


def test_many_may_work_at_a_time(start):
    with lock.working():
        assert start("working").says("inside")
        assert start("working").says("inside")


def test_a_process_that_is_killed_gives_the_lock_back(start):
    other = start("measuring")
    assert other.says("inside")
    other.process.kill()
    with lock.measuring():
        pass


def test_the_lock_is_given_back_after_an_error(start):
    with pytest.raises(ZeroDivisionError), lock.measuring():
        1 / 0  # noqa: B018
    assert start("measuring").says("inside")


def test_work_may_be_entered_inside_work():
    with lock.working(), lock.working():
        pass
    with lock.measuring():
        pass


@pytest.mark.parametrize(("outer", "inner"), [("working", "measuring"), ("measuring", "working"),
                                              ("measuring", "measuring")])  # fmt: skip
def test_waiting_for_oneself_is_an_error_instead_of_for_ever(outer, inner):
    with (
        getattr(lock, outer)(),
        pytest.raises(InternalError, match="measuring must neither"),
        getattr(lock, inner)(),
    ):
        pass


def test_workers_who_come_and_go_do_not_keep_a_measurement_waiting():
    """At every moment one of the two works; only turns can let the measurement in."""
    measured, stop = threading.Event(), threading.Event()

    def work(delay):
        time.sleep(delay)
        while not stop.is_set():
            with lock.working():
                time.sleep(0.05)

    def measure():
        with lock.measuring():
            measured.set()

    threads = [threading.Thread(target=work, args=(delay,)) for delay in (0, 0.025)]
    for thread in threads:
        thread.start()
    time.sleep(0.06)
    threads.append(threading.Thread(target=measure))
    threads[-1].start()
    found = measured.wait(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert found


def test_another_thread_waits_for_its_turn():
    entered = threading.Event()

    def measure():
        with lock.measuring():
            entered.set()

    with lock.working():
        thread = threading.Thread(target=measure)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
