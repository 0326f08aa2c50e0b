"""`seewhy bench`: networks x datasets x methods x metrics, from one core to a cluster."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from seewhy.bench import check_packages
from seewhy.bench.loggers import Means, logging
from seewhy.bench.progress import State, count, duration, shown
from seewhy.cli import options
from seewhy.cli.common import (
    err,
    flag,
    out,
    resumable,
    table_of,
    tell_all_failed,
    tell_plugins,
    usage_errors,
)
from seewhy.metrics import metric
from seewhy.naming import METHODS, REFINEMENTS, parse

if TYPE_CHECKING:
    from seewhy.bench.engines import Engine
    from seewhy.bench.plan import Plan
    from seewhy.bench.store import Run


EngineName = Literal["local", "ray"]


def bench(
    config: Annotated[Path, typer.Argument(help="A YAML file; see docs/bench.md.")],
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder. Default: runs/NAME, with the config's name."),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Local processes, or Ray.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of worker processes; 0 or 1 works in this process (or in one worker if "
            "the config has a timeout). Default: one per core, or one on a GPU. With Ray, the "
            "number of actors; default: as many as fit.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster: auto or ray://HOST:PORT. Default: start Ray."),
    ] = None,
    device: options.Device = "cpu",
    dry_run: Annotated[bool, flag("--dry-run", "Only print the estimated cost.")] = False,
    log: Annotated[
        list[str] | None, typer.Option(help="Log intermediate means: tensorboard.")
    ] = None,
    plugin: options.Plugins = None,
) -> None:
    """Run a benchmark, or resume one that was interrupted; the command is the same.

    Shards with failures are tried again. The exit code is 1 if some images or the disk failed;
    finished work is kept.
    """
    with usage_errors():
        check_packages()  # better to know before than after
        from seewhy.bench.config import ConfigError, read_config
        from seewhy.bench.plan import make_plan

        try:
            file = read_config(config)
        except ConfigError as error:
            if error.name is not None:
                tell_plugins(folder or Path("runs") / error.name)
            raise
        plan = make_plan(file, device)
        folder = folder or Path("runs") / plan.config.name
        with closing(engine_of(plan, engine, workers, address)) as chosen:
            if dry_run:
                tell_plan(plan, chosen)
                return
            with resumable():
                run = go_on(plan, file.text, chosen, folder, log or [])
    failures = run.failures()
    places = ("network", "dataset", "image", "target", "method")
    tell_all_failed(
        (" ".join(one[place] for place in places if one[place]), one["reason"]) for one in failures
    )
    there = escape(str(run.folder))
    out.print(f"{there} is finished. Next: seewhy report {there}", soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def engine_of(plan: Plan, name: EngineName, workers: int | None, address: str | None) -> Engine:
    """The engine that the options ask for."""
    from seewhy.bench.engines import InProcess, on_ray, processes

    if name == "ray":
        return on_ray(plan, workers or 0, address)
    if address is not None:
        raise ValueError("--address is of a Ray cluster; add --engine ray")
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = max(1, (cores or 1) // plan.config.threads) if plan.device == "cpu" else 1
    # Only another process can be ended at any moment.
    alone = workers < 2 and plan.config.timeout is None
    return InProcess(plan) if alone else processes(plan, max(1, workers))


def go_on(plan: Plan, text: str, engine: Engine, folder: Path, logs: list[str]) -> Run:
    """Begin a run or go on with it, showing how far it is."""
    from seewhy.bench.calibrate import calibrate
    from seewhy.bench.report.pictures import keep_pictures
    from seewhy.bench.run import continued, written

    def more() -> dict[str, object]:
        return {
            "config_text": text,
            "engine": engine.name,
            "workers": engine.workers,
            "calibration": calibrate(plan, engine),
        }

    data = {one.title: plan.data(one.title) for one in plan.config.datasets}
    going = continued(folder, plan.facts, plan.shards, data, more)
    with going as (run, todo, samples), ExitStack() as stack:
        config = run.manifest["config"]
        loggers = [stack.enter_context(logging(name, folder, config)) for name in logs]
        if run.files:
            there = f"{len(run.files)} of {count(len(plan.shards), 'shard')}"
            err.print(f"{escape(str(folder))}: {there} done already")
        if failed := run.failed():
            err.print(f"{count(len(failed), 'shard')} with failures: tried again")
        total = sum(len(shard.keys) for shard in plan.shards)
        state, means = State(total, total - sum(len(shard.keys) for shard in todo)), Means()
        with shown(state, err) as tell:

            def advance(images: int) -> None:
                state.done += images
                tell()

            for shard, answers in written(run, engine.finish(todo, advance), data, samples):
                state.failures += sum(one.failed for one in answers)
                tell()
                values = {"images/s": state.rate, "failures": float(state.failures)}
                values |= means.add(f"{shard.network}/{shard.dataset}", answers) if logs else {}
                for log in loggers:
                    log(state.done, values)
        if plan.config.pictures and (problem := keep_pictures(run, plan, engine)):
            err.print(f"no pictures for the report: {escape(str(problem))}")
    return run


def tell_plan(plan: Plan, engine: Engine) -> None:
    """Print what a plan computes and what that costs."""
    from seewhy.bench.calibrate import calibrate, estimate
    from seewhy.bench.plan import cells_in

    calibration = calibrate(plan, engine)
    table = table_of("network", "dataset")
    for heading in ("images", "shards"):
        table.add_column(heading, justify="right")
    for cell in cells_in(plan.shards):
        names = escape(cell["network"]), escape(cell["dataset"])
        table.add_row(*names, str(cell["images"]), str(cell["shards"]))
    out.print(table)

    out.print("\nF: a forward pass; B, h: a backward pass through all, or to the layer.")
    out.print("E: an explanation; S: the steps, shares or samples asked for.\n")
    table = table_of("method", "passes per image and target")
    for network in calibration:
        table.add_column(f"ms by {escape(network)}", justify="right")
    for name in plan.config.methods:
        method = parse(name)
        passes = [METHODS[method.name].passes]
        passes += [REFINEMENTS[one.name].passes for one in method.refinements]
        seconds = [found["methods"][str(method)] for found in calibration.values()]
        table.add_row(escape(name), escape(", ".join(passes)), *map(milliseconds, seconds))
    forwards = [found["forward"] for found in calibration.values()]
    table.add_row("[dim]a forward pass[/dim]", "F", *map(milliseconds, forwards))
    out.print(table)
    table = table_of("metric", "passes per method, image and target")
    for name in plan.config.metrics:
        table.add_row(escape(name), escape(metric(name).passes))
    out.print()
    out.print(table)

    whole = estimate(plan, calibration, engine.workers)
    crew = f"{count(engine.workers, 'worker')} of {count(plan.config.threads, 'thread')}"
    for network, found in calibration.items():
        each = "unknown" if found["image"] is None else f"{found['image']:.3g} s"
        out.print(f"\nOne image with all methods and metrics, {escape(network)}: {each}", end="")
    about = "not known" if whole is None else f"about {duration(whole)}"
    out.print(f"\nTime on {crew} ({engine.name}): {about}")


def milliseconds(seconds: float | None) -> str:
    """0.0123 -> "12"; "fails" for what did not work."""
    return "fails" if seconds is None else f"{1000 * seconds:.3g}"
