"""Local worker processes: Beam's SDK harness, forked from a server that has imported it, which takes longer than many a job.

The runner starts a worker by a command (`command`). That is `fork_worker.py`, a few lines that know nothing of Beam: they ask the server
for a worker with their own environment, and end with it. The server lives as long as the process that started it.
"""

import atexit
import contextlib
import importlib
import json
import logging
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from yt8m_data import memory
from yt8m_data.command_line import importing

_CLIENT = Path(__file__).with_name("fork_worker.py")
_MANY = 1024  # workers that may wait for the server at once


class _Server:
    """The server of this process, and what it is asked through."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.path = os.path.join(tempfile.mkdtemp(prefix="yt8m-workers-"), "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(_MANY)
        owner_lives, self.alive = os.pipe()  # what reads the one end is told when nobody holds the other
        if _may_fork():
            self.pid = os.fork()
            if not self.pid:
                os.close(self.alive)
                _serve_and_exit(listener, owner_lives)
        else:
            fds = (listener.fileno(), owner_lives)
            call = [sys.executable, "-c", f"from beam_jobs import forkserver; forkserver.main{(*fds, _ours())}"]
            self.pid = subprocess.Popen(call, pass_fds=fds).pid
        listener.close()
        os.close(owner_lives)
        atexit.register(self.end)

    def end(self) -> None:
        """Let it go, and wait until it has."""
        if self.serves():
            os.close(self.alive)
            os.waitpid(self.pid, 0)
        if self.owner == os.getpid():
            shutil.rmtree(os.path.dirname(self.path), ignore_errors=True)  # where it was killed

    def serves(self) -> bool:
        """Whether it is there, and this process's own."""
        if self.owner != os.getpid():
            return False
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        return False


_server: _Server | None = None


def command() -> str:
    """Return the command that starts a worker, for a shell; the server is started where there is none."""
    global _server
    if _server is None or not _server.serves():
        if _server is not None:
            _server.end()
        _server = _Server()
    return shlex.join(["exec", sys.executable, "-I", "-S", str(_CLIENT), _server.path, json.dumps(sys.path)])


def _may_fork() -> bool:
    """Whether a fork of this process is as good as a new one: no thread of it can hold a lock that nobody gives back there."""
    return threading.active_count() == 1 and "tensorflow" not in sys.modules


def _ours() -> list[str]:
    """Modules of ours that this process has imported: the workers will need them, and a fork of it would have them."""
    return [name for name in sys.modules if name.partition(".")[0] in ("beam_jobs", "yt8m_data")]


def main(listener: int, owner_lives: int, modules: Sequence[str]) -> None:
    """Serve on inherited file descriptors, with modules imported for the workers."""
    with importing():
        for module in modules:
            importlib.import_module(module)
    _serve_and_exit(socket.socket(fileno=listener), owner_lives)


def _serve_and_exit(listener: socket.socket, owner_lives: int) -> None:
    """Fork a worker for each that asks, until the owner is gone; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner is told as well, and ends its workers
        signal.signal(signal.SIGCHLD, _reap)
        logging.disable(logging.CRITICAL)  # what fails comes back over the control channel
        import numpy.ma  # noqa: F401  np.unique asks for it
        from apache_beam.runners.worker import sdk_worker_main  # noqa: F401  so that no worker has to import them

        while listener.fileno() in select.select([listener.fileno(), owner_lives], [], [])[0]:
            connection = listener.accept()[0]
            if not os.fork():
                listener.close()
                os.close(owner_lives)
                _work_and_exit(connection)
            connection.close()
        shutil.rmtree(os.path.dirname(listener.getsockname()), ignore_errors=True)
    finally:
        os._exit(0)


def _reap(*_: object) -> None:
    """Take note of workers that have ended, so that their processor time counts."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _work_and_exit(connection: socket.socket) -> None:
    """Be a worker until the runner closes the connection to it, or whoever asked is gone; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        memory.share_one_arena()
        asked = json.loads(connection.makefile().readline())
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.path[:] = asked["path"]
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        from apache_beam.runners.worker import sdk_worker_main

        sdk_worker_main.main([])
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([status]))
        os._exit(status)


def _end_with(connection: socket.socket) -> None:
    """End this process when nobody listens to it any more."""
    connection.recv(1)
    os._exit(1)
