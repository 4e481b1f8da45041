#!/usr/bin/env python3
"""How many execution environments a load needs, how often one starts, and what is refused: a discrete-event simulation of AWS Lambda.

    tests/bench/simulate.py                  the cases of docs/costs.md, as a table
    tests/bench/simulate.py --check          the simulation against closed formulas
    tests/bench/simulate.py --rate 50 --seconds 3600 --model 10 --concurrency 1000
    tests/bench/simulate.py --trace FILE     arrivals of your own: lines of "seconds,function"

What is simulated (https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html and lambda-concurrency.html):

- An environment serves one request at a time. A request takes the environment of its function that was idle for the shortest time; if there is
  none, a new one, and waits until that has started.
- An environment that was idle for its lifetime is gone. AWS does not say how long that is; people have measured 5 to 60 minutes.
- A request is refused if as many requests are in flight as the account may have at once, if the account has had ten times as many requests within a
  second, or if its function has started a thousand environments at once and a hundred a second since.
- A refused request is not sent again.

What it knows of the functions comes from measured.json and prices.json, and of their memory from template.yaml. Python's standard library, and always the same random numbers.
"""

import argparse
import heapq
import json
import math
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
Arrivals = Iterable[tuple[float, str]]


@dataclass
class Function:
    """How long a function works on a request and how long it takes to start, both in seconds."""

    service: Callable[[], float]
    start: Callable[[], float]


@dataclass
class Limits:
    concurrency: float = math.inf
    """How many requests of the account may be in flight."""
    starts_at_once: float = 1000
    starts_per_second: float = 100
    requests_per_environment: float = 10
    """Times the concurrency: how many requests the account may have in a second."""
    lifetime: float = 600
    """How long an environment may be idle, in seconds."""


class Bucket:
    """Lets through what has come in at a rate, and as much as it holds at once."""

    def __init__(self, size: float, rate: float) -> None:
        self.size, self.rate, self.level, self.at = size, rate, size, 0.0

    def take(self, now: float) -> bool:
        if self.size == math.inf:
            return True
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


@dataclass
class Result:
    requests: int = 0
    cold: int = 0
    refused: int = 0
    refused_by: dict[str, int] = field(default_factory=lambda: {"concurrency": 0, "rate": 0, "scaling": 0})
    peak: int = 0
    """The most requests in flight."""
    environments: int = 0
    """The most environments there were, busy and idle. One that is gone is missed at the next request for its function."""
    busy_seconds: float = 0.0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """What each cold start added."""
    squared: float = 0.0

    def served(self) -> int:
        return self.requests - self.refused

    def cold_share(self) -> float:
        return self.cold / max(1, self.served())

    def refused_share(self) -> float:
        return self.refused / max(1, self.requests)

    def mean_busy(self) -> float:
        return self.busy_seconds / self.seconds

    def variance_busy(self) -> float:
        return self.squared / self.seconds - self.mean_busy() ** 2

    def added(self, percent: float) -> float:
        """What a request waits for a start, at this percentile of all that are served."""
        rank = math.ceil(self.served() * percent / 100)
        warm = self.served() - len(self.waits)
        return 0.0 if rank <= warm else sorted(self.waits)[rank - warm - 1]


def simulate(arrivals: Arrivals, functions: dict[str, Function], limits: Limits, warm_up: float = 0.0) -> Result:
    """Runs the arrivals, which come in order. What arrives before `warm_up` is simulated and not counted."""
    result = Result()
    idle: dict[str, deque[float]] = {name: deque() for name in functions}
    scaling = {name: Bucket(limits.starts_at_once, limits.starts_per_second) for name in functions}
    most = limits.requests_per_environment * limits.concurrency
    rate = Bucket(most, most)
    busy: list[tuple[float, str]] = []
    alive, last = 0, warm_up

    def pass_to(now: float) -> None:
        nonlocal last
        if now > last:
            result.busy_seconds += len(busy) * (now - last)
            result.squared += len(busy) ** 2 * (now - last)
            last = now

    now = 0.0
    for now, name in arrivals:
        while busy and busy[0][0] <= now:
            ended, of = busy[0]
            pass_to(ended)
            heapq.heappop(busy)
            idle[of].append(ended)
        pass_to(now)
        counts = now >= warm_up
        result.requests += counts
        refused = None
        if len(busy) >= limits.concurrency:
            refused = "concurrency"
        elif not rate.take(now):
            refused = "rate"
        else:
            free, function = idle[name], functions[name]
            # The longest idle are at the left: those that are too old are gone.
            while free and free[0] < now - limits.lifetime:
                free.popleft()
                alive -= 1
            wait = 0.0
            if free:
                free.pop()
            elif scaling[name].take(now):
                alive += 1
                wait = function.start()
                if counts:
                    result.cold += 1
                    result.waits.append(wait)
            else:
                refused = "scaling"
        if refused:
            result.refused += counts
            result.refused_by[refused] += counts
            continue
        heapq.heappush(busy, (now + wait + function.service(), name))
        if counts:
            result.peak = max(result.peak, len(busy))
            result.environments = max(result.environments, alive)
    result.seconds = now - warm_up
    return result


def exponential(rng: random.Random, mean: float) -> Callable[[], float]:
    return lambda: -math.log(1.0 - rng.random()) * mean


def around(rng: random.Random, mean: float, spread: float) -> Callable[[], float]:
    """A lognormal time of this mean: most a little shorter, some much longer. Models answer like that."""
    middle = math.log(mean) - spread * spread / 2

    def time() -> float:
        normal = math.sqrt(-2.0 * math.log(1.0 - rng.random())) * math.cos(math.tau * rng.random())
        return math.exp(middle + spread * normal)

    return time


def poisson(rng: random.Random, rate: Callable[[float], float], peak: float, seconds: float, mix: dict[str, float]) -> Iterator[tuple[float, str]]:
    """Arrivals of a rate that changes with time, at most `peak`, by thinning."""
    names, shares = list(mix), []
    for share in mix.values():
        shares.append((shares[-1] if shares else 0.0) + share)
    now = 0.0
    while True:
        now -= math.log(1.0 - rng.random()) / peak
        if now >= seconds:
            return
        if rng.random() * peak < rate(now):
            point = rng.random() * shares[-1]
            yield now, names[next(index for index, share in enumerate(shares) if point < share)]


def day(mean: float) -> tuple[Callable[[float], float], float]:
    """A day: a tenth of the mean at night, 1.9 times the mean at the height."""
    return lambda at: mean * (1.0 - 0.9 * math.cos(math.tau * at / 86_400)), 1.9 * mean


def ramp(most: float, seconds: float) -> tuple[Callable[[float], float], float]:
    """From nothing to the whole load, and then always the same."""
    return lambda at: most * min(1.0, at / seconds), most


def burst(mean: float, begin: float, seconds: float, times: float) -> tuple[Callable[[float], float], float]:
    """Always the same, but for a burst."""
    return lambda at: mean * (times if begin <= at < begin + seconds else 1.0), mean * times


@dataclass
class Case:
    """A line of the table. A `scale` of 100 simulates a hundredth of the load under a hundredth of the limits."""

    name: str
    rate: float
    shape: str
    model: float
    concurrency: float
    lifetime: float = 600
    scale: float = 1

    def run(self, inputs: dict, seed: int = 1) -> Result:
        rng = random.Random(seed)
        rate = self.rate / self.scale
        if self.shape == "day":
            # The first hour of the night is not counted.
            (shape, peak), seconds, warm_up = day(rate), 90_000.0, 3_600.0
        elif self.shape == "ramp":
            (shape, peak), seconds, warm_up = ramp(rate, 1_200), 1_320.0, 0.0
        elif self.shape == "burst":
            (shape, peak), seconds, warm_up = burst(rate, 120, 30, 3), 240.0, 90.0
        else:
            (shape, peak), seconds, warm_up = burst(rate, 0, 0, 1), 240.0, 90.0
        limits = Limits(
            concurrency=self.concurrency / self.scale,
            starts_at_once=1000 / self.scale,
            starts_per_second=100 / self.scale,
            lifetime=self.lifetime,
        )
        functions = functions_of(inputs, rng, self.model)
        return simulate(poisson(rng, shape, peak, seconds, inputs["mix"]), functions, limits, warm_up)


CASES = [
    Case("0.1, a day", 0.1, "day", 10, 1000),
    Case("1, a day", 1, "day", 10, 1000),
    Case("10, a day", 10, "day", 10, 1000),
    Case("10, a day, idle for 5 min at most", 10, "day", 10, 1000, lifetime=300),
    Case("10, burst to 30", 10, "burst", 10, 1000),
    Case("10, in a new account", 10, "steady", 10, 10),
    Case("1 000", 1_000, "steady", 2, 1000),
    Case("1 000", 1_000, "steady", 10, 1000),
    Case("1 000, burst to 3 000", 1_000, "burst", 2, 10_000),
    Case("1 000, burst to 3 000", 1_000, "burst", 10, 20_000),
    Case("100 000, reached in 20 minutes", 100_000, "ramp", 2, 150_000, scale=100),
    Case("100 000, reached in 20 minutes", 100_000, "ramp", 10, 600_000, scale=100),
]


def functions_of(inputs: dict, rng: random.Random, model: float) -> dict[str, Function]:
    """The functions of the mix, with what was measured at the memory size that they have. A function that asks a model waits for it."""
    functions = {}
    for name in inputs["mix"]:
        own, start, asks = inputs["own"][name], inputs["start"][name], name in inputs["asks"]
        answers = around(rng, model, 0.5) if asks and model else None
        work = around(rng, own, 0.2)
        service = (lambda work=work, answers=answers: work() + answers()) if answers else work
        functions[name] = Function(service, around(rng, start, 0.3))
    return functions


def memory_of(binary: str) -> int:
    """The function's memory in the template: its own, or what all have."""
    template = (HERE.parent.parent / "template.yaml").read_text()
    block = next(part for part in re.split(r"\n(?=  \w+:\n)", template) if f"Binary: {binary}}}" in part)
    own = re.search(r"^      MemorySize: (\d+)", block, re.M)
    return int((own or re.search(r"^    MemorySize: (\d+)", template, re.M))[1])


def read_inputs() -> dict:
    """Seconds of each function of the mix, from what was measured and what is assumed."""
    measured = json.loads((HERE / "measured.json").read_text())["functions"]
    assumed = json.loads((HERE / "prices.json").read_text())["assumptions"]
    mix, like = assumed["mix"], assumed["like"]
    of = {name: measured[like.get(name, name)] for name in mix}
    return {
        "mix": mix,
        "asks": assumed["asks_model"],
        "own": {name: of[name]["by_memory"][str(memory_of(name))]["p50_ms"] / 1000 for name in mix},
        "start": {name: (of[name]["start_ms"] + assumed["platform_start_ms"]) / 1000 for name in mix},
    }


def table(cases: Iterable[Case] = CASES) -> str:
    inputs = read_inputs()
    lines = [
        "| requests a second | model | concurrency allowed | in flight: mean, most | environments | cold starts | added at p50, p99, p99.9 | refused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        result = case.run(inputs)
        added = ", ".join(f"{result.added(percent) * 1000:.0f}" for percent in (50, 99, 99.9))
        many = lambda number: f"{number * case.scale:,.0f}".replace(",", " ")
        mean = f"{result.mean_busy() * case.scale:.1f}" if result.mean_busy() * case.scale < 10 else many(result.mean_busy())
        reasons = [name for name, count in result.refused_by.items() if count]
        refused = f"{result.refused_share():.1%} ({', '.join(reasons)})" if reasons else "none"
        lines.append(
            f"| {case.name} | {case.model:g} s | {case.concurrency:,.0f} | {mean}, {many(result.peak)} | {many(result.environments)} "
            f"| {result.cold_share():.3%} | {added} ms | {refused} |".replace(",000 |", " 000 |")
        )
    return "\n".join(lines)


def erlang_b(servers: int, load: float) -> float:
    """The share that is refused where nobody waits (Erlang's loss formula), by its recursion."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def check() -> int:
    """The simulation against what is known in closed form. Each line says what it should be and what it is."""
    failures = 0

    def report(name: str, is_near: bool, expected: float, found: float) -> None:
        nonlocal failures
        failures += not is_near
        print(f"{'ok  ' if is_near else 'FAIL'}  {name}: {expected:.4f} expected, {found:.4f} found")

    def run(rate: float, seconds: float, service: Callable, limits: Limits, start: float = 0.0, warm_up: float = 0.0, seed: int = 7) -> Result:
        rng = random.Random(seed)
        functions = {"f": Function(service(rng), lambda: start)}
        return simulate(poisson(rng, lambda _: rate, rate, seconds, {"f": 1.0}), functions, limits, warm_up)

    free = {"starts_at_once": math.inf, "lifetime": math.inf}
    # Erlang's formula knows no difference between service times of one mean.
    for name, service in [
        ("exponential", lambda rng: exponential(rng, 2.0)),
        ("constant", lambda _: lambda: 2.0),
        ("lognormal", lambda rng: around(rng, 2.0, 0.5)),
    ]:
        for servers in (10, 25):
            result = run(10, 20_000, service, Limits(concurrency=servers, requests_per_environment=math.inf, **free), warm_up=100)
            expected = erlang_b(servers, 20)
            near = abs(result.refused_share() - expected) < 0.01
            report(f"Erlang's loss formula, {servers} servers, load 20, {name}", near, expected, result.refused_share())
    result = run(50, 5_000, lambda rng: exponential(rng, 2.0), Limits(**free), warm_up=100)
    report("without limits the mean in flight is rate × time", abs(result.mean_busy() / 100 - 1) < 0.01, 100, result.mean_busy())
    report("… and its variance is the same (M/G/∞)", abs(result.variance_busy() / 100 - 1) < 0.1, 100, result.variance_busy())
    result = run(40, 5_000, lambda rng: exponential(rng, 1.0), Limits(concurrency=30, **free), start=0.5, warm_up=100)
    little = result.served() / result.seconds * 1.0 + sum(result.waits) / result.seconds
    report("Little's law under refusals", abs(result.mean_busy() / little - 1) < 0.01, little, result.mean_busy())
    # One request at a time, hardly any service time: it is cold if the one before is longer ago than the lifetime.
    for lifetime in (60, 300):
        result = run(0.01, 2_000_000, lambda _: lambda: 1e-9, Limits(lifetime=lifetime), start=1e-9)
        expected = math.exp(-0.01 * lifetime)
        report(f"cold starts of rare requests, lifetime {lifetime} s", abs(result.cold_share() - expected) < 0.01, expected, result.cold_share())
    functions = {"f": Function(lambda: 10.0, lambda: 0.0)}
    result = simulate(((0.0, "f") for _ in range(1_500)), functions, Limits())
    report("of 1 500 at once a thousand get an environment", result.refused_by["scaling"] == 500, 500, result.refused_by["scaling"])
    result = simulate(((at / 100, "f") for at in range(3_000)), functions, Limits())
    report("a hundred more a second are started for ever", result.refused == 0, 0, result.refused)
    functions = {"f": Function(lambda: 1e-6, lambda: 0.0)}
    result = simulate(((at / 1_000, "f") for at in range(20_000)), functions, Limits(concurrency=10))
    # A hundred at once, then a hundred a second.
    expected = 20_000 - 100 - 20 * 100
    report("no more than ten a second for each that may be in flight", abs(result.refused - expected) < 10, expected, result.refused)
    functions = {"f": Function(lambda: 1.0, lambda: 0.2), "g": Function(lambda: 1.0, lambda: 0.2)}
    result = simulate([(0, "f"), (2, "f"), (4, "g"), (700, "f")], functions, Limits())
    report("an environment is its function's, and gone after its lifetime", result.cold == 3, 3, result.cold)
    first, second = (run(20, 200, lambda rng: exponential(rng, 1.0), Limits(concurrency=20)) for _ in range(2))
    report("the same seed, the same run", first == second, 0, 0)
    print("Everything agrees." if not failures else f"{failures} disagree.")
    return 1 if failures else 0


def read_trace(path: str, mix: dict[str, float]) -> Iterator[tuple[float, str]]:
    for line in Path(path).read_text().splitlines():
        at, _, name = line.partition(",")
        if at.strip() and not line.startswith("#"):
            if name.strip() not in mix:
                raise SystemExit(f"{name.strip()!r} is none of {', '.join(mix)}")
            yield float(at), name.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with closed formulas")
    parser.add_argument("--rate", type=float, help="requests a second, always the same")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--trace", help="a file of arrivals, in order")
    parser.add_argument("--model", type=float, default=2, help="seconds that a model takes")
    parser.add_argument("--concurrency", type=float, default=1000)
    parser.add_argument("--lifetime", type=float, default=600, help="seconds that an environment may be idle")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.check:
        return check()
    if options.rate is None and options.trace is None:
        print(table())
        return 0
    inputs, rng = read_inputs(), random.Random(options.seed)
    arrivals = (
        read_trace(options.trace, inputs["mix"])
        if options.trace
        else poisson(rng, lambda _: options.rate, options.rate, options.seconds, inputs["mix"])
    )
    limits = Limits(concurrency=options.concurrency, lifetime=options.lifetime)
    result = simulate(arrivals, functions_of(inputs, rng, options.model), limits)
    print(f"requests {result.requests}, refused {result.refused} {result.refused_by}")
    print(f"in flight: mean {result.mean_busy():.1f}, most {result.peak}; environments at most {result.environments}")
    print(f"cold starts {result.cold} ({result.cold_share():.3%}); added " + ", ".join(f"p{p:g} {result.added(p) * 1000:.0f} ms" for p in (50, 99, 99.9)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
