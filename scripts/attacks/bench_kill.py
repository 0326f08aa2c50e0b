"""Kill -9 a benchmark again and again, at any moment, and let it go on: the table must be the same.

    python scripts/attacks/bench_kill.py [--kills 200] [--engine local|ray] [--workers N] [--seed 0]
                                         [--minutes M] [--own-cluster]

A run is killed at random moments until it ends by itself; then its table is compared with that of a
run that nobody killed, to the bit, and the next run begins. After each kill all processes that it
started must go away by themselves. Each go is forked from this process, which has imported all.
With Ray all goes use one cluster, whose actors have to end with the run; or each starts its own,
which takes long, and whose agents may take minutes to end. Every third kill there is of an actor's
process instead: the run has to go on with a new one, or to say what failed, and to do it later.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from victim import Outcomes, write_bench

from seewhy.bench.store import Run
from seewhy.cli import app

MARK = "SEEWHY_ATTACK"
PATIENCE = 60.0  # seconds for the processes of a killed run to end
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # these look around every few minutes
LATER = 400.0  # seconds for these
CLUSTER = "cluster"  # the mark of a cluster's processes
ACTOR = "ray::Worker"
REFUSED = 5  # times that a go may end in words before the run counts as one that does not end


def marked(mark: str, agents: bool = False) -> list[int]:
    """The processes, but for this one, with the mark in their environment, and the actors."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                name = named(int(folder.name))
                own = (folder / "environ").read_bytes().decode(errors="ignore")
                mine = f"{MARK}={mark}" in own
                mine |= f"{MARK}={CLUSTER}" in own and name.startswith(ACTOR)
                agent = name.startswith(AGENTS)
                if state != "Z" and mine and (agents or not agent):
                    found.append(int(folder.name))
            except (OSError, IndexError):
                continue
    return found


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """A Ray cluster on this machine; its address."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--port", "6399"]
    ray += ["--num-cpus", str(workers), "--include-dashboard", "false"]
    ray += ["--node-ip-address", "127.0.0.1"]
    # For whoever joins it from here.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**os.environ, MARK: CLUSTER, "RAY_raylet_start_wait_time_s": "300"}

    def end() -> None:
        for pid in marked(CLUSTER, agents=True):
            os.kill(pid, signal.SIGKILL)

    try:
        # On a busy machine it does not start within the time that Ray allows for it.
        while subprocess.run(ray, env=environment, stdout=subprocess.DEVNULL).returncode:
            end()
        yield "127.0.0.1:6399"
    finally:
        end()


def named(pid: int) -> str:
    """What a process was called with."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return "it has ended by now"


def started(arguments: list[str], mark: str, said: Path) -> int:
    """A go in a process of its own, with the mark in the environment of all that it starts.

    said: where what it prints goes.
    """
    if pid := os.fork():
        return pid
    code = 70
    try:
        os.environ[MARK] = mark
        with said.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        app(arguments)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def wait(pid: int, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
    """The exit code, or None if it still runs then, or at a moment before that."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end or until():
            return None
        time.sleep(0.002)


def gone(mark: str, patience: float = PATIENCE, agents: bool = False) -> float | None:
    """Seconds until no process has the mark; None if some still has after a while."""
    begun = time.monotonic()
    while marked(mark, agents):
        if time.monotonic() - begun > patience:
            return None
        time.sleep(0.1)
    return time.monotonic() - begun


def main(
    folder: Path, kills: int, engine: list[str], workers: int, seed: int, minutes: float
) -> int:
    """Kill so many times, or as often as the time allows. engine: options of `seewhy bench`."""
    found, draw = Outcomes(), random.Random(seed)
    config = write_bench(
        folder,
        datasets=[{"dataset": "folder:photos"}, {"dataset": "scenes:6"}],
        networks=[
            {"model": "bench_nets:small", "name": "small", "size": 24},
            {"model": "scenes:resnet", "size": 48},
        ],
        metrics=["average_drop", "insertion"],
        shard=1,
    )
    options, said = [*engine, "--workers", str(workers)], folder / "said.txt"

    def go(name: str) -> list[str]:
        return ["bench", str(config), "--out", str(folder / name), *options]

    def there() -> int:
        return len(list((folder / "cut" / "rows").glob("*.parquet")))

    begun = time.monotonic()
    code = wait(started(go("whole"), "whole", said), 600)
    usual = time.monotonic() - begun
    assert code == 0, said.read_text()
    whole = Run.open(folder / "whole").table()
    print(f"undisturbed: exit code {code}, {usual:.1f} s, {whole.num_rows} rows", flush=True)
    done = runs = 0
    slowest = 0.0
    end = time.monotonic() + 60 * minutes

    def more() -> bool:
        return done < kills and time.monotonic() < end

    while more():
        shutil.rmtree(folder / "cut", ignore_errors=True)
        runs += 1
        goes = hurt = refused = 0
        while True:
            if not hurt:
                mark = f"{os.getpid()}-{done}-{runs}-{goes}"
                pid = started(go("cut"), mark, said)
                goes += 1
            # At any time; or soon after some more shards, however slow the machine is.
            goal = there() + draw.choice([0, 0, 1, 1, 1, 2, 3, 5])
            if not more():
                code = wait(pid, 600)
            elif goal == there():
                code = wait(pid, 0.7 * usual * draw.random() ** 2)
            else:
                code = wait(pid, 600, lambda goal=goal: there() >= goal)
                code = wait(pid, draw.random() * usual / 20) if code is None else code
            if code is not None and not hurt and (not code or refused == REFUSED):
                break
            if code is not None:  # the cluster does not answer, or actors died: again
                why = "as actors were killed" if hurt else said.read_text().strip()[-200:]
                found.add(f"goes that ended with exit code {code} {why}")
                refused += not hurt
                hurt = 0
                continue
            actors = [one for one in marked(mark) if named(one).startswith(ACTOR)]
            if actors and draw.random() < 1 / 3:
                os.kill(actors[0], signal.SIGKILL)
                done, hurt = done + 1, hurt + 1
                found.add("actors killed")
                continue
            hurt = 0
            shards = there()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done += 1
            if done % 20 == 0:
                print(f"{done} kills, {time.monotonic() - begun:.0f} s", flush=True)
            left = gone(mark)
            slowest = max(slowest, left or PATIENCE)
            when = "before the first shard" if not shards else "among the shards"
            when = "after the last shard" if shards == len(whole_files(folder)) else when
            found.add(
                f"killed {when}" if left is not None else "PROCESSES LEFT",
                bad=left is None,
                about=str(list(map(named, marked(mark)))),
            )
        same = code == 0 and Run.open(folder / "cut").table().equals(whole)
        pictures = (folder / "cut" / "pictures.parquet").exists()
        found.add(
            f"runs that ended with {'the same table' if same else 'ANOTHER TABLE'}",
            bad=not (same and pictures),
            about=f"exit code {code} after {goes} goes: {said.read_text()[-500:]}",
        )
    print(
        f"{done} kills, {runs} runs; the last process of a killed run ended {slowest:.1f} s later"
    )
    seconds = gone(f"{os.getpid()}-", LATER, agents=True)
    if seconds is None:
        found.add("PROCESSES LEFT FOR EVER", bad=True, about=str(marked(f"{os.getpid()}-", True)))
    elif seconds > 1:
        print(f"Ray's agents ended {seconds:.0f} s after that")
    return found.close(f"kill -9, {' '.join(engine)}, {workers} workers")


def whole_files(folder: Path) -> list[Path]:
    """The shards of the run that nobody killed."""
    return list((folder / "whole" / "rows").glob("*.parquet"))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--engine", default="local")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, default=1e6, help="no more kills after that")
    options.add_argument("--own-cluster", action="store_true", help="of Ray: a new one each time")
    asked = options.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="k")))
        os.environ |= {"OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(place)}
        engine = ["--engine", asked.engine]
        if asked.engine == "ray" and not asked.own_cluster:
            engine += ["--address", stack.enter_context(cluster(asked.workers))]
            import ray  # noqa: F401 - once, and not in each go; it reads its settings now
        sys.exit(main(place, asked.kills, engine, asked.workers, asked.seed, asked.minutes))
