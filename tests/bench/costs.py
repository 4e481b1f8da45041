#!/usr/bin/env python3
"""What the system costs, from measured.json, prices.json and template.yaml: the tables of docs/costs.md.

    tests/bench/costs.py            prints them
    tests/bench/costs.py --write    puts them into docs/costs.md, each between its two marks
    tests/bench/costs.py --check    fails if that would change something

Python's standard library.
"""

import json
import math
import re
import sys
from pathlib import Path

import simulate
from simulate import memory_of

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "costs.md"
TEMPLATE = (ROOT / "template.yaml").read_text()
MEASURED = json.loads((ROOT / "tests/bench/measured.json").read_text())
FUNCTIONS = MEASURED["functions"]
INPUTS = json.loads((ROOT / "tests/bench/prices.json").read_text())
PRICES, ASSUMED = INPUTS["prices"], INPUTS["assumptions"]
DJANGO = ASSUMED["django"]
MIX: dict[str, float] = ASSUMED["mix"]
HOURS = 730
MONTH = HOURS * 3600
SIZES = [128, 256, 512, 1024, 1769]
KINDS = {
    "system-health": "health",
    "users-balance": "balance",
    "chats-list": "history, 50 chats",
    "token-refresh": "refresh",
    "users-login": "login",
    "users-register": "sign-up",
    "chats-send": "chat",
}
# What Lambda writes around each invocation, as https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html shows it.
PLATFORM_LINES = (
    "START RequestId: 00000000-0000-0000-0000-000000000000 Version: 12\n"
    "END RequestId: 00000000-0000-0000-0000-000000000000\n"
    "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 256 MB\tMax Memory Used: 30 MB\t\n"
)
# What the variables of the gateway's line are about as long as.
GATEWAY_VALUES = {
    "requestId": "0" * 36, "requestTime": "25/Nov/2026:12:00:00 +0000", "sourceIp": "203.0.113.200", "httpMethod": "POST",
    "resourcePath": "/api/v1/chats", "status": "200", "responseType": "-", "responseLatency": "20", "latency": "15",
    "responseLength": "900", "wafResponseCode": "-", "xrayTraceId": "1-" + "0" * 33,
}  # fmt: skip


def of(name: str) -> float:
    return PRICES[name]["usd"]


def measured(name: str) -> dict:
    return FUNCTIONS[ASSUMED["like"].get(name, name)]


def default_of(parameter: str) -> int:
    return int(re.search(rf"^  {parameter}:\n    Type: Number\n    Default: (\d+)", TEMPLATE, re.M)[1])


def tiered(name: str, amount: float) -> float:
    """The price of a month's amount."""
    total = 0.0
    for size, price in PRICES[name].get("tiers", [[None, of(name)]]):
        here = amount if size is None else min(amount, size)
        total += here * price
        amount -= here
    return total


def gateway_line_bytes() -> int:
    text = re.search(r"Format: >-\n((?:            .*\n)+)", TEMPLATE)[1]
    text = " ".join(line.strip() for line in text.splitlines())
    return len(re.sub(r"\$context\.([\w.]+)", lambda found: GATEWAY_VALUES[found[1].split(".")[-1]], text)) + 1


def log_bytes(name: str) -> int:
    """Of one request: the function's line, Lambda's lines and the gateway's."""
    return measured(name)["line_bytes"] + 1 + len(PLATFORM_LINES) + gateway_line_bytes()


def units(name: str) -> tuple[float, float]:
    """Read and write units of one request, with chats as long as is assumed."""
    one, kilobytes = measured(name), ASSUMED["answer_kb"]
    if name == "chats-list":
        return 1 + math.ceil(50 * kilobytes / 4), one["write_units"]
    if name == "chats-send":
        # Of a transaction every KB counts twice.
        return one["read_units"], one["write_units"] + 2 * (math.ceil(kilobytes) - 1)
    return one["read_units"], one["write_units"]


def response_bytes(name: str) -> float:
    length = measured(name)["response_bytes"]
    if name == "chats-send":
        length += 1000 * ASSUMED["answer_kb"]
    if name == "chats-list":
        length = 50_000 * ASSUMED["answer_kb"]
    return length + ASSUMED["header_bytes"]


def billed_seconds(name: str, memory: int, model: float) -> float:
    waits = model if name in ASSUMED["asks_model"] else 0
    return measured(name)["by_memory"][str(memory)]["billed_ms"] / 1000 + waits


def parts(name: str, model: float = 0, memory: int | None = None, processor: str = "lambda_x86") -> dict[str, float]:
    """What a million requests cost, by what is paid for, in dollars."""
    memory = memory or memory_of(name)
    reads, writes = units(name)
    return {
        "gateway": of("gateway"),
        "Lambda: requests": of("lambda_request"),
        "Lambda: time": billed_seconds(name, memory, model) * memory / 1024 * of(processor) * 1e6,
        "DynamoDB": reads * of("read") + writes * of("write"),
        "logs": log_bytes(name) / 1e9 * of("log_gb") * 1e6,
        "traces": 0.05 * of("trace"),
        "transfer": response_bytes(name) / 1e9 * of("transfer_gb") * 1e6,
    }


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    return [row(*cells), "|" + "---|" * len(cells)]


def dollars(amount: float) -> str:
    if amount >= 100:
        return f"{amount:,.0f}".replace(",", " ")
    return f"{amount:.2f}"


def price_table() -> str:
    lines = head("what", "$", "per", "AWS's page", "where it was read")
    for price in PRICES.values():
        seen = f"[{price['seen'].split('/')[2]}]({price['seen']})" if price["seen"] else "from memory: check"
        page = price["page"]
        lines.append(row(price["what"], f"{price['usd']:.10f}".rstrip("0").rstrip("."), price["per"], f"[page]({page})", seen))
    return "\n".join(lines)


def measured_table() -> str:
    lines = head(
        "function", "binary, MB", "start, ms", "CPU, ms", "most memory, MB", "requests to the table", "read units", "write units", "its line, bytes",
        "all lines, bytes",
    )  # fmt: skip
    for name, kind in KINDS.items():
        one = measured(name)
        lines.append(
            row(
                f"`{name}` ({kind})", one["binary_mb"], one["start_ms"], one["cpu_ms"], one["peak_mb"], one["table_requests"], one["read_units"],
                one["write_units"], one["line_bytes"], log_bytes(name),
            )
        )  # fmt: skip
    return "\n".join(lines)


def memory_table() -> str:
    lines = head("function", *(f"{size} MB" for size in SIZES))
    for name, kind in KINDS.items():
        chosen, cells = memory_of(name), []
        for size in SIZES:
            one = measured(name)["by_memory"][str(size)]
            price = billed_seconds(name, size, 0) * size / 1024 * of("lambda_x86") * 1e6
            mark = "**" if size == chosen else ""
            cells.append(f"{mark}{one['p50_ms']:.1f}, {one['p95_ms']:.1f}, {one['in_a_row_p50_ms']:.1f}: ${price:.2f}{mark}")
        lines.append(row(f"`{name}` ({kind})", *cells))
    for model in (2, 10):
        cells = []
        for size in SIZES:
            price = billed_seconds("chats-send", size, model) * size / 1024 * of("lambda_x86") * 1e6
            mark = "**" if size == memory_of("chats-send") else ""
            cells.append(f"{mark}${price:.2f}{mark}")
        lines.append(row(f"`chats-send`, and {model} s of a model", *cells))
    return "\n".join(lines)


REQUESTS = [(name, 0, kind) for name, kind in KINDS.items() if name != "chats-send"] + [
    ("chats-send", 0, "chat, model of no time"),
    ("chats-send", 2, "chat, model of 2 s"),
    ("chats-send", 10, "chat, model of 10 s"),
]


def request_table() -> str:
    names = list(parts("system-health"))
    lines = head("a million of", *names, "all")
    for name, model, kind in REQUESTS:
        each = parts(name, model)
        lines.append(row(kind, *(dollars(each[part]) for part in names), f"**{dollars(sum(each.values()))}**"))
    return "\n".join(lines)


def metric_counts() -> tuple[int, int]:
    """How many metrics the lines make: with the endpoints in use that are assumed, and at most. See shared/src/lambda/line.rs."""
    by_stage = 7 + 4 + 6 + 2
    endpoints = len(list((ROOT / "functions/src/bin").glob("*.rs")))
    return ASSUMED["endpoints_in_use"] * (2 + ASSUMED["outcomes_of_each"]) + by_stage, endpoints * 7 + by_stage


def fixed() -> dict[str, float]:
    """What a month costs without a request."""
    usual, _ = metric_counts()
    return {
        f"{usual} metrics": usual * of("metric"),
        f"{len(re.findall('Type: AWS::CloudWatch::Alarm', TEMPLATE))} alarms": len(re.findall("Type: AWS::CloudWatch::Alarm", TEMPLATE)) * of("alarm"),
        "dashboard": of("dashboard"),
        "signing seed": of("secret"),
    }


def fixed_table() -> str:
    usual, most = metric_counts()
    rules = len(re.findall(r"^        - Name: ", TEMPLATE[TEMPLATE.index("  WebAcl:") : TEMPLATE.index("  WebAclOfApi:")], re.M))
    lines = head("every month", "$")
    lines += [row(name, dollars(price)) for name, price in fixed().items()]
    lines.append(row("**all**", f"**{dollars(sum(fixed().values()))}**"))
    lines.append(row(f"at most: {most} metrics, if every endpoint had every outcome in every hour", dollars(most * of("metric"))))
    asked = int(re.search(r"const SERIES: \[.*; (\d+)\]", (ROOT / "shared/src/metrics.rs").read_text())[1])
    lines.append(row(f"the day's figures, looked at each minute: {asked} metrics each time", dollars(HOURS * 60 * asked * of("metric_read") / 1000)))
    lines.append(row("with `OpenAiApiKeySecret`: one more secret", dollars(of("secret"))))
    wall = of("firewall") + rules * of("firewall_rule")
    lines.append(row(f"with `Firewall` = `waf`: ACL and {rules} rules, and {of('firewall_request'):.2f} for each million requests", dollars(wall)))
    return "\n".join(lines)


def storage_table() -> str:
    """What is paid for what is kept, and how much of it the daily reconciliation can look at."""
    one = MEASURED["reconciliation"]
    gigabytes = one["items"] * one["item_bytes"] / 1e9
    # A scan reads 8 KB for a unit, as it need not be consistent.
    scan = 30 * 1e6 / 8 * of("read") / 1e6
    lines = head("every month", "for each GB in the table, $", "for each million chats, $", "for each million in conversations, $")
    kilobytes = ASSUMED["answer_kb"]
    for name, price in [
        ("storage", of("table_gb")),
        ("point-in-time recovery", of("backup_gb")),
        ("daily reconciliation: a scan", scan),
        ("daily reconciliation: its function", 30 * one["cpu_ms"] / 1000 / gigabytes * 1769 / 1024 * of("lambda_x86")),
    ]:
        lines.append(row(name, f"{price:.2f}", f"{price * kilobytes:.2f}", f"{price * kilobytes * 2:.2f}"))
    lines += ["", *head("memory of `ledger-reconcile`", "share of a CPU", "MB a second at most", "GB in its 15 minutes", "chats in conversations", "$ for each GB")]
    for size in SIZES:
        share = min(1, size / 1769)
        speed = gigabytes / (one["cpu_ms"] / 1000 / share)
        most = speed * 900
        mark = "**" if size == memory_of("ledger-reconcile") else ""
        price = 1 / speed * size / 1024 * of("lambda_x86")
        cells = [f"{size} MB", f"{share:.2f}", f"{speed * 1000:.1f}", f"{most:.1f}", f"{most / kilobytes / 2:.1f} million", f"{price:.4f}"]
        lines.append(row(*(f"{mark}{cell}{mark}" for cell in cells)))
    return "\n".join(lines)


def month(rate: float, model: float, chat_memory: int | None = None, processor: str = "lambda_x86") -> dict[str, float]:
    """What a month of the mix at this mean rate costs."""
    requests = rate * MONTH
    total = {"gateway": tiered("gateway", requests) / 1e6, "Lambda": requests * of("lambda_request") / 1e6}
    gb_seconds = reads = writes = logs = transfer = 0.0
    for name, share in MIX.items():
        memory = chat_memory if chat_memory and name in ASSUMED["asks_model"] else memory_of(name)
        gb_seconds += share * requests * billed_seconds(name, memory, model) * memory / 1024
        reads += share * requests * units(name)[0]
        writes += share * requests * units(name)[1]
        logs += share * requests * log_bytes(name) / 1e9
        transfer += share * requests * response_bytes(name) / 1e9
    total["Lambda"] += tiered(processor, gb_seconds)
    total["DynamoDB"] = (reads * of("read") + writes * of("write")) / 1e6
    total["logs"] = tiered("log_gb", logs)
    # X-Ray records the first of each second and a twentieth of the rest.
    total["traces"] = (min(rate, 1) + 0.05 * max(0, rate - 1)) * MONTH * of("trace") / 1e6
    total["transfer"] = transfer * of("transfer_gb")
    total["fixed"] = sum(fixed().values())
    return total


def django(rate: float, model: float) -> tuple[dict[str, float], int, str]:
    """The same mix on an always-on pair: how much a month, how many tasks, which database."""
    cpu = lambda name: DJANGO["cpu_ms"][ASSUMED["like"].get(name, name)] / 1000
    busy = rate * sum(share * cpu(name) for name, share in MIX.items())
    waiting = rate * sum(MIX[name] for name in ASSUMED["asks_model"]) * model
    tasks = max(DJANGO["least_tasks"], math.ceil(busy / DJANGO["use"]), math.ceil(waiting / DJANGO["waiting_for_each_task"]))
    # The database cannot follow the load within a day, so it is as large as the peak needs. A medium one has a fifth of two vCPUs for good.
    needed = rate * DJANGO["peak"] * DJANGO["database_cpu_ms"] / 1000 / DJANGO["use"]
    if needed <= 0.4:
        database, hourly = "db.t4g.medium", of("rds_medium")
    else:
        factor = 2 ** max(0, math.ceil(math.log2(needed / 2)))
        name = {1: "large", 2: "xlarge"}.get(factor, f"{factor // 2}xlarge")
        database, hourly = f"db.m7g.{name}", of("rds_large") * factor
    connections = max(rate * DJANGO["peak"] / 25, waiting / 3000)
    gigabytes = sum(share * response_bytes(name) for name, share in MIX.items()) * rate * MONTH / 1e9
    total = {
        "tasks": tasks * HOURS * (DJANGO["task_vcpu"] * of("fargate_vcpu") + DJANGO["task_gb"] * of("fargate_gb") + of("address")),
        "database": HOURS * hourly + DJANGO["database_gb"] * of("rds_gb"),
        "balancer": HOURS * (of("balancer") + 2 * of("address") + connections * of("balancer_unit")),
        "logs": tiered("log_gb", rate * MONTH * DJANGO["line_bytes"] / 1e9),
        "transfer": gigabytes * of("transfer_gb"),
        "secrets and alarms": of("secret") + 8 * of("alarm"),
    }
    return total, tasks, database


def comparison_table() -> str:
    lines = head("requests a second, mean", "model", "gateway", "Lambda", "DynamoDB", "logs, traces, transfer, fixed", "**this system**", "**Django**", "of it")
    for model in (2, 10):
        for rate in (1, 10, 100, 1000):
            ours = month(rate, model)
            theirs, tasks, database = django(rate, model)
            rest = sum(ours[name] for name in ("logs", "traces", "transfer", "fixed"))
            lines.append(
                row(
                    f"{rate:,}".replace(",", " "), f"{model} s", *(dollars(ours[name]) for name in ("gateway", "Lambda", "DynamoDB")), dollars(rest),
                    f"**{dollars(sum(ours.values()))}**", f"**{dollars(sum(theirs.values()))}**", f"{tasks} tasks, {database}",
                )
            )  # fmt: skip
    return "\n".join(lines)


def break_even(model: float, **other: object) -> float:
    """The mean rate from which on the pair is cheaper."""
    low, high = 0.001, 1000.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sum(month(middle, model, **other).values()) < sum(django(middle, model)[0].values()) else (low, middle)
    return low


def break_even_table() -> str:
    lines = head("", "model of 2 s", "model of 10 s")
    cases = [
        ("as deployed", {}),
        ("functions on arm64", {"processor": "lambda_arm"}),
        ("… and functions that ask models with 256 MB instead", {"processor": "lambda_arm", "chat_memory": 256}),
    ]
    for name, other in cases:
        cells = []
        for model in (2, 10):
            rate = break_even(model, **other)
            cells.append(f"{rate:.1f} a second, {rate * MONTH / 1e6:.1f} million a month, ${dollars(sum(month(rate, model, **other).values()))}")
        lines.append(row(name, *cells))
    return "\n".join(lines)


def lever_table() -> str:
    """What one could change, at a hundred requests a second and a model of 2 s."""
    rate, model = 100, 2
    base = month(rate, model)
    all_of_it = sum(base.values())
    requests = rate * MONTH
    writes = sum(share * units(name)[1] for name, share in MIX.items())
    reads = sum(share * units(name)[0] for name, share in MIX.items())
    history = MIX["chats-list"]
    # Provisioned at 70 % use, as if scaling followed every hour.
    provisioned = rate * (writes * of("write_hour") + reads * of("read_hour")) / 0.7 * HOURS
    wide = sum(month(rate, model, chat_memory=256).values())
    lines = head("change", "$ a month", "what it costs otherwise")
    changes = [
        ("functions on arm64 (`Architecture`)", sum(month(rate, model, processor="lambda_arm").values()) - all_of_it, "nothing: the workflow builds for it"),
        ("functions that ask models with 256 MB", wide - all_of_it, "what 128 MB save"),
        ("DynamoDB provisioned, with auto scaling", provisioned - base["DynamoDB"], "throttling when a rush comes faster than it scales"),
        ("no START, END and REPORT lines (`LogFormat: JSON`, `SystemLogLevel: WARN`)", -requests * len(PLATFORM_LINES) / 1e9 * of("log_gb"), "billed time and memory of each request, and its trace in the log"),
        ("no access log (`AccessLogs` = `none`)", -requests * gateway_line_bytes() / 1e9 * of("log_gb"), "requests that no function saw"),
        ("a hundredth of the traces (an X-Ray rule)", -(base["traces"] - 0.01 * requests * of("trace") / 1e6), "fewer traces to look at"),
        ("pages of 20 chats instead of 50, asked for by clients", -requests * history * (units("chats-list")[0] - 1 - math.ceil(20 * ASSUMED["answer_kb"] / 4)) * of("read") / 1e6, "more pages"),
        ("an HTTP API instead of the REST API", -(base["gateway"] - requests * of("http_gateway") / 1e6), "WAF, streams, preflights without a function, logs of refusals"),
    ]  # fmt: skip
    lines += [row(name, f"{'−' if change < 0 else '+'}{dollars(abs(change))}", cost) for name, change, cost in changes]
    lines.append(row("**all of it as deployed**", f"**{dollars(all_of_it)}**", ""))
    return "\n".join(lines)


def need_table() -> str:
    """What a load of the mix needs, by Little's law."""
    lines = head("", *(f"{rate:,} a second".replace(",", " ") for rate in (10, 1_000, 100_000)), "there is by default")
    rates = (10, 1_000, 100_000)
    own = sum(share * measured(name)["by_memory"][str(memory_of(name))]["p50_ms"] / 1000 for name, share in MIX.items() if name not in ASSUMED["asks_model"])
    asks = sum(MIX[name] for name in ASSUMED["asks_model"])
    many = lambda number: f"{number:,.0f}".replace(",", " ") if number >= 10 else f"{number:.1f}"
    each = lambda function: [many(function(rate)) for rate in rates]
    reads = sum(share * units(name)[0] for name, share in MIX.items())
    writes = sum(share * units(name)[1] for name, share in MIX.items())
    passwords = MIX["users-login"] + MIX["users-register"]
    logged = sum(share * log_bytes(name) for name, share in MIX.items())
    kept = MIX["chats-send"] * ASSUMED["answer_kb"] * 86_400 / 1e6
    lines += [
        row("messages a second", *each(lambda rate: rate * asks), f"{default_of('MessagesPerSecond')} for each route, burst {default_of('MessageBurst')}"),
        row("logins and sign-ups a second", *each(lambda rate: rate * passwords), f"{default_of('PasswordsPerSecond')} for each route, burst {default_of('PasswordBurst')}"),
        row("requests a second at the gateway", *each(lambda rate: rate), f"10 000 for the account, burst 5 000; {many(default_of('RequestsPerSecond'))} for each other route"),
        row("functions at once, model of 2 s", *each(lambda rate: rate * (own + asks * 2)), "1 000 for the account; 10 in a new one"),
        row("functions at once, model of 10 s", *each(lambda rate: rate * (own + asks * 10)), "the same"),
        row("functions at once, for ten requests a second each", *each(lambda rate: rate / 10), "the same"),
        row("write units a second", *each(lambda rate: rate * writes), "4 000 in a new table, 40 000 for a table"),
        row("read units a second", *each(lambda rate: rate * reads), "12 000 in a new table, 40 000 for a table"),
        row("new index entries a second, in one partition key", *each(lambda rate: rate * MIX["users-register"]), "1 000"),
        row("log, MB a second", *each(lambda rate: rate * logged / 1e6), "Lambda delivers them; there is no quota to raise"),
        row("table, GB more a day", *each(lambda rate: rate * kept), "no limit"),
    ]
    return "\n".join(lines)


TABLES = {
    "prices": price_table,
    "measured": measured_table,
    "memory": memory_table,
    "requests": request_table,
    "fixed": fixed_table,
    "storage": storage_table,
    "comparison": comparison_table,
    "break-even": break_even_table,
    "levers": lever_table,
    "needs": need_table,
    "simulation": simulate.table,
}


def main() -> int:
    tables = {name: make() for name, make in TABLES.items()}
    if not sys.argv[1:]:
        print("\n\n".join(f"{name}\n\n{table}" for name, table in tables.items()))
        return 0
    text = DOCUMENT.read_text()
    new = text
    for name, table in tables.items():
        place = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        new, found = re.subn(place, lambda match: f"{match[1]}\n{table}\n\n{match[2]}", new, flags=re.S)
        if found != 1:
            print(f"docs/costs.md has {found} places for the table {name!r}")
            return 1
    if sys.argv[1] == "--write":
        DOCUMENT.write_text(new)
        return 0
    if new != text:
        print("docs/costs.md is not what tests/bench/costs.py --write makes of measured.json, prices.json and template.yaml")
        return 1
    print("docs/costs.md is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
