"""Checks the CORS preflights of a SAM template. Needs airspeed-ext==0.6.9 aws-sam-translator==1.115.0 PyYAML==6.0.4."""

import json
import logging
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
logging.disable(logging.WARNING)

import airspeed
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ANY, INTEGRATION = "x-amazon-apigateway-any-method", "x-amazon-apigateway-integration"
ALIAS = re.compile(r"\b(\w+)Aliaslive\b")
A, B = "https://chat.example", "http://localhost:3000"
LISTS = [A, f"{A},{B}", f"{A},  {B}"]
REFUSED = [
    None, "", "null", "*", f"{A}.evil", f"{A}/", f"{A}:443", "http://chat.example", "https://CHAT.example", "HTTPS://chat.example",
    "https://evil-chat.example", "https://chat.exampl", "https://chatxexample", f" {A}", f"{A}, {B}", f"{A},{B}", f"{A}' || '' == '",
    f"{A}\"#set($allowed = '*')", "#set($allowed = '*')", "$allowed", "${entry}", "$context.apiId", f"{A}\r\nSet-Cookie: a=b", ",", "'",
]  # fmt: skip
GRANTS = {"Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS", "Access-Control-Max-Age": "7200",
          "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, Idempotency-Key, OpenAI-Organization, OpenAI-Project, User-Agent, X-CSRFToken, X-Requested-With, X-Stainless-Arch, X-Stainless-Helper-Method, X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout"}  # fmt: skip
BAD_LISTS = ["", "null", "https://a.example/", "HTTPS://a.example", "*,https://a.example", "https://*.example", "https://a.example,",
             "https://a.example','x", "https://a.example ,https://b.example", "https://$a.example", "https://a.example\nx"]  # fmt: skip

failures: list[object] = []


def report(passed: bool, *columns: object) -> None:
    print("ok  " if passed else "FAIL", *columns, sep="  ")
    failures.extend(() if passed else columns[:1])


def resolve(value: Any, parameters: dict[str, str]) -> Any:
    """Evaluates the intrinsic functions that the template uses in texts."""
    match value if not isinstance(value, dict) else next(iter(value.items())):
        case "Ref", str(name):
            return parameters[name]
        case "Fn::Split", [str(separator), text]:
            return resolve(text, parameters).split(separator)
        case "Fn::Join", [str(separator), texts]:
            return separator.join(resolve(texts, parameters))
        case "Fn::Select", [index, items]:
            return resolve(items, parameters)[int(index)]
        case "Fn::Sub", [str(text), dict(names)]:
            known = parameters | {name: resolve(item, parameters) for name, item in names.items()}
            return re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], text)
    raise ValueError(f"cannot evaluate {value}")


def render(template: str, headers: dict[str, str]) -> tuple[dict[str, str], str]:
    """Renders a response template: the headers that it sets, and the body. The query tries to pass for an allowed origin."""
    override: dict[str, str] = {}
    query = {"origin": A, "Origin": A}
    params = {"params": lambda name=None: query.get(name, "") if name else {"header": headers, "querystring": query}}
    body = airspeed.Template(template).merge({"input": params, "context": {"responseOverride": {"header": override}, "requestId": "request-1"}})
    return override, body.strip()


def check_routes(template: dict[str, Any], body: dict[str, Any]) -> None:
    """Every path answers OPTIONS by itself and hands every other method to a function."""
    expected = {(path, ANY): "SystemFallback" for path in body["paths"]}
    for name, resource in template["Resources"].items():
        events = resource.get("Properties", {}).get("Events", {}).values()
        for event in (event for event in events if event["Type"] == "Api"):
            expected[event["Properties"]["Path"], event["Properties"]["Method"]] = name
    for path, item in sorted(body["paths"].items()):
        methods = {method: operation[INTEGRATION] for method, operation in item.items()}
        mock = methods.pop("options", {})
        mocked = mock.get("type") == "mock" and json.loads(mock["requestTemplates"]["application/json"]) == {"statusCode": 204}
        called = {method: ALIAS.findall(json.dumps(to["uri"])) for method, to in methods.items() if to["type"] == "aws_proxy"}
        wanted = {method: [name] for (at, method), name in expected.items() if at == path}
        report(mocked and called == wanted, path, {"options": mock.get("type"), **called})


def check_origin(body: dict[str, Any], allowed: str, origin: str | None) -> None:
    """Every path gives the same, right answer, in whatever case the name of the header comes."""
    match = "*" if allowed == "*" else next((listed for listed in (A, B) if listed == origin and listed in allowed), None)
    wanted = {"X-Request-Id": "request-1"} | ({} if allowed == "*" else {"Vary": "Origin"})
    wanted |= {"Access-Control-Allow-Origin": match, **GRANTS} if match else {}
    mocks = [item["options"][INTEGRATION]["responses"]["default"] for item in body["paths"].values() if "options" in item]
    texts = [resolve(mock["responseTemplates"]["application/json"], {"AllowedOrigins": allowed}) for mock in mocks]
    sent = [{}] if origin is None else [{"Origin": origin}, {"origin": origin}]
    wrong = [answer for text in texts for headers in sent if (answer := render(text, headers)) != (wanted, "")]
    report(not wrong, f"{allowed!r:46}", f"{origin!r:50}", f"-> {match}", f"not {wrong[0]}" if wrong else "")


def main(path: str) -> int:
    source = json.loads(json.dumps(yaml_parse(Path(path).read_text(encoding="utf-8"))))  # Writes aliases out, as sam package does.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    resources = transform(json.loads(json.dumps(source)), {}, SimpleNamespace(load=dict))["Resources"].values()
    (body,) = [made["Properties"]["Body"] for made in resources if made["Type"] == "AWS::ApiGateway::RestApi"]
    permitted = [made["Properties"]["FunctionName"] for made in resources if made["Type"] == "AWS::Lambda::Permission"]
    check_routes(source, body)
    report({"Ref": "SystemFallbackAliaslive"} in permitted, "the API may call the fallback")
    report(source["Resources"]["Api"]["Properties"].get("AlwaysDeploy") is True, "a new list of origins is deployed")
    pattern = source["Parameters"]["AllowedOrigins"]["AllowedPattern"]
    for allowed in BAD_LISTS:
        report(re.fullmatch(pattern, allowed) is None, "not a list", repr(allowed))
    for allowed in ["*", *LISTS]:
        report(re.fullmatch(pattern, allowed) is not None, "a list", repr(allowed))
        for name, answer in body["x-amazon-apigateway-gateway-responses"].items():
            sent = answer["responseParameters"]
            first = resolve(sent["gatewayresponse.header.Access-Control-Allow-Origin"], {"AllowedOrigins": allowed})
            right = "'*'" if allowed == "*" else f"'{A}'"
            report(first == right and sent.get("gatewayresponse.header.Vary") == "'Origin'", f"{allowed!r:46}", name, first)
        for origin in [A, B, *REFUSED]:
            check_origin(body, allowed, origin)
    print(f"{len(failures)} failures")
    return min(len(failures), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
