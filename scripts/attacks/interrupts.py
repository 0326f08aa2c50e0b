"""Is a model as it was, after Ctrl-C at any moment, in networks with state, and under threads?

    python scripts/attacks/interrupts.py [INTERRUPTS, 3000] [SEED, 0] [ONLY]

Three parts: every method on every network without an interrupt; threads that explain networks with
a common part; interrupts in the midst of explanations, some by a timer's signal, others at a chosen
call or return of a Python function, ours or torch's, where signals are served. Some come again and
again. The caller is in one of torch's grad modes, and may have a mode of its own. Compared are
weights, buffers, gradients, modes, hooks, attributes and global state. ONLY: of the methods, those
with this in their names; `explain_photos` explains photos by several methods at once, one of which
fails, a folder's and a broken one among them.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
import torch.nn.modules.module as torch_module
from PIL import Image
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint
from victim import Outcomes

import seewhy
from seewhy import naming
from seewhy.core import observing
from seewhy.data.preprocess import Preprocess
from seewhy.data.samples import sample_photos
from seewhy.models import LoadedModel

METHODS = [
    "grad_cam", "gradient", "tsgb", "full_grad", "score_cam", "ablation_cam", "guided_backprop",
    "integrated_gradients(steps=3)", "gig_cam(steps=2)", "rise(masks=20)", "shapley_cam",
    "excitation_backprop", "contrastive_excitation_backprop", "occlusion(patch=16)",
    "grad_cam+gradual", "layer_cam+refine_cam", "grad_cam+multiscale", "grad_cam+smooth(samples=2)",
    "grad_cam+sharpen", "auto", "finer_cam(references=1)", "smooth_grad_cam_plus_plus(samples=2)",
]  # fmt: skip

PHOTOS = "explain_photos"

# Where they come: by a timer, or at a call or return in files with this in their names.
PLACES = [
    "timer", "timer", "timer", "seewhy/core", "observing.py", "observing.py", "torch/nn",
    "torch/overrides", "contextlib.py", "grad_mode.py", "core/rules", "torch/utils",
]  # fmt: skip
CALLERS = [nullcontext, nullcontext, torch.no_grad, torch.inference_mode, BaseTorchFunctionMode]


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(after), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.down = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.down(x)
        return self.relu(out)


class ResNet(nn.Module):
    """ResNet-18 with few channels; blocks may be checkpointed, compiled, or another network's."""

    def __init__(self, body: nn.Module | None = None, wrap: str = "") -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        steps = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 16, 2), (16, 16, 1)]
        self.body = body or nn.Sequential(*(Block(*step) for step in steps))
        self.dropout, self.fc = nn.Dropout(0.3), nn.Linear(16, 5)
        self.wrap = wrap
        if wrap == "compiled":
            self.stem = torch.compile(self.stem)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.body:
            x = checkpoint(block, x, use_reentrant=False) if self.wrap == "checkpoint" else block(x)
        return self.fc(self.dropout(x.mean((2, 3))))


class Stateful(nn.Module):
    """Counters, running means and a quantisation observer that write in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.observer = torch.ao.quantization.MovingAverageMinMaxObserver()
        self.last, self.fc = nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.observer(F.relu(self.norm(self.conv(x))))
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))
        self.seen.resize_(int(self.calls)).fill_(1.0)
        return self.fc(F.relu(self.last(x)).mean((2, 3)))


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = {
            "resnet": ResNet(),
            "checkpointed": ResNet(wrap="checkpoint"),
            "compiled part": ResNet(wrap="compiled"),
            "stateful": Stateful(),
            "shared part": ResNet(),
        }
        built["shared part, other"] = ResNet(built["shared part"].body)
    for number, model in enumerate(built.values()):
        model.train()
        for place, module in enumerate(model.modules()):  # modes, gradients and frozen parts mixed
            module.training = (place + number) % 5 != 0
        for place, parameter in enumerate(model.parameters()):
            parameter.requires_grad_(place % 4 != 0)
            parameter.grad = torch.full_like(parameter, 0.5) if place % 3 else None
        model.fc.register_forward_hook(lambda *_: None)
    return built


def state(model: nn.Module) -> dict[str, Any]:
    """All that an explanation could leave behind; tensors as bytes, with what they are."""
    seen: dict[str, Any] = {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "modes": _get_current_function_mode_stack(),
        "torch functions": torch._C._get_torch_function_state(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "stance": observing._stance is None,
        "watching": len(observing._watching),
        "evaluated": len(observing._evaluated),
        "global hooks": [
            len(getattr(torch_module, name))
            for name in vars(torch_module)
            if name.startswith("_global_") and name.endswith("hooks")
        ],
        "random": torch.get_rng_state().numpy().tobytes(),
    }
    for name, module in model.named_modules():
        seen[name] = (
            module.training,
            sorted(vars(module)),
            [len(value) for key, value in vars(module).items() if key.endswith("hooks")],
            "forward" in vars(module),
        )
        own = [*module._parameters.items(), *module._buffers.items()]
        for key, tensor in own:
            if tensor is not None:
                grad = tensor.grad
                seen[f"{name}.{key}"] = (
                    id(tensor), tensor.requires_grad, tuple(tensor.shape),
                    tensor.detach().clone().numpy().tobytes(),
                    None if grad is None else (id(grad), grad.clone().numpy().tobytes()),
                )  # fmt: skip
    return seen


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    return ", ".join(key or "root" for key in before if before[key] != after.get(key))


def explained(model: nn.Module, method: str) -> Callable[[], object]:
    if method == PHOTOS:
        return partial(photographed, model)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return lambda: seewhy.explain(model, x, method, 1)


def photographed(model: nn.Module) -> list[Tensor]:
    loaded = LoadedModel(model, Preprocess(resize=(32, 32)), tuple("abcde"))
    one = next(iter(sample_photos().values())).image.resize((40, 30))
    methods = ["grad_cam", "gradient", "tsgb", "ablation_cam", "failing"]
    photos = [one, b"no photo", one.transpose(Image.Transpose.ROTATE_90), one.rotate(9)]
    found = seewhy.explain_photos(loaded, photos, methods, [None, "b"], batch_size=2)
    return [one.saliency for answer in found for one in answer.explanations]


@naming.method("an attack", "F")
def failing(probe: seewhy.Probe) -> Tensor:
    """Nothing, after a pass."""
    raise ValueError(f"{tuple(probe.logits.shape)} is no map")


def undisturbed(
    outcomes: Outcomes, models: dict[str, nn.Module], only: str
) -> list[tuple[str, str]]:
    """Every method on every network; returns those that had an answer."""
    answered = []
    for name, model in models.items():
        for method in (one for one in [*METHODS, PHOTOS] if only in one):
            before = state(model)
            try:
                explained(model, method)()
                answered.append((name, method))
                what = "explained"
            except ValueError:
                what = "refused in words"
            changed = difference(before, state(model))
            about = f"{method} of {name}: {changed}"
            outcomes.add(
                f"{what}, model {'CHANGED' if changed else 'as it was'}",
                bad=bool(changed),
                about=about,
            )
    return answered


def threads(outcomes: Outcomes, models: dict[str, nn.Module], rounds: int) -> None:
    """Threads explain two networks that share their body, all at once."""
    pair = [models["shared part"], models["shared part, other"], models["resnet"]]
    methods = ["grad_cam", "tsgb", "gradient", PHOTOS]
    expected = {(i, m): explained(model, m)() for i, model in enumerate(pair) for m in methods}
    for number in range(rounds):
        before = [state(model) for model in pair]
        wrong: list[str] = []
        barrier = threading.Barrier(6)

        def work(
            thread: int, wrong: list[str] = wrong, barrier: threading.Barrier = barrier
        ) -> None:
            barrier.wait()
            for method in methods[thread % 4 :] + methods[: thread % 4]:
                found = explained(pair[thread % 3], method)()
                known = expected[thread % 3, method]
                if not all(map(torch.equal, [*found], [*known])) or len(found) != len(known):
                    wrong.append(method)

        pool = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        changed = [difference(b, state(model)) for b, model in zip(before, pair, strict=True)]
        bad = any(changed) or bool(wrong)
        what = "6 threads, " + ("CHANGED or wrong" if bad else "maps and models as they were")
        outcomes.add(what, bad=bad, about=f"round {number}: {changed} {wrong}")


class AtCall:
    """Raises at the n-th call or return of a Python function, and, if asked, at a later one."""

    def __init__(self, moments: list[int], within: str) -> None:
        self.moments, self.within, self.count = sorted(moments), within, 0

    def __call__(self, frame: FrameType, event: str, given: object) -> Any:
        del given  # what a function returns goes with it, and is not kept by the error
        if self.within not in frame.f_code.co_filename:
            return None
        frame.f_trace_lines = False
        if event in ("call", "return"):
            self.count += 1
            if self.moments and self.count >= self.moments[0]:
                self.moments.pop(0)
                raise KeyboardInterrupt
        return self

    def run(self, act: Callable[[], object]) -> None:
        sys.settrace(self)
        try:
            act()
        finally:
            sys.settrace(None)


def by_timer(act: Callable[[], object], delay: float, again: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, delay, again)
    try:
        act()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def interrupts(
    outcomes: Outcomes, models: dict[str, nn.Module], answered: list[tuple[str, str]],
    count: int, draw: random.Random,
) -> None:  # fmt: skip
    left = 0

    def interrupted(*_: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
        raise draw.choice([KeyboardInterrupt, KeyboardInterrupt, TimeoutError])

    signal.signal(signal.SIGALRM, interrupted)
    lengths: dict[tuple[str, str, str], float] = {}
    done = 0
    while done < count:
        name, method = draw.choice(answered)
        model = models[name]
        act = explained(model, method)
        how = draw.choice(PLACES)
        key = (name, method, how)
        if key not in lengths:
            began = time.perf_counter()
            if how == "timer":
                act()
                lengths[key] = time.perf_counter() - began
            else:
                counter = AtCall([], how)
                counter.run(act)
                lengths[key] = counter.count
        twice = draw.random() < 0.2
        left = draw.randint(2, 5) if twice else 1
        with ExitStack() as own:
            own.enter_context(draw.choice(CALLERS)())
            before = state(model)
            ended = "ended before it"
            try:
                if how == "timer":
                    moment = draw.uniform(1e-4, lengths[key])
                    by_timer(act, moment, draw.uniform(1e-5, 1e-3) if twice else 0)
                else:
                    moment = draw.randint(1, max(1, int(lengths[key])))
                    AtCall([moment], how).run(act)
            except (KeyboardInterrupt, TimeoutError):
                ended = f"interrupt ({how}{', 2 to 5 times' if how == 'timer' and twice else ''})"
            except Exception as error:
                ended = f"interrupt hidden by a {type(error).__name__}"
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except (KeyboardInterrupt, TimeoutError):
                    pass
            changed = difference(before, state(model))
        interrupted_it = ended.startswith("interrupt")
        done += interrupted_it
        if interrupted_it or changed:
            outcomes.add(
                f"{ended}, {'CHANGED' if changed else 'as it was'}",
                bad=bool(changed) or "hidden" in ended,
                about=f"{method} of {name} at {moment}: {changed}",
            )
        if changed:
            models.update(networks())


def main(count: int, seed: int, only: str = "") -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    outcomes, models, draw = Outcomes(), networks(), random.Random(seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        answered = undisturbed(outcomes, models, only)
        threads(outcomes, models, max(1, count // 300))
        interrupts(outcomes, models, answered, count, draw)
    finally:
        code = outcomes.close("interrupts, states and threads")
    return code


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:3]] + [3000, 0][len(sys.argv) - 1 :]
    sys.exit(main(*given, *sys.argv[3:]))
