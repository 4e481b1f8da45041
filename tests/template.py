"""Checks what a SAM template becomes: transforms it, decides its conditions, and looks at every resource of what is left. Writes the
results to a directory, for other tools to read. Needs aws-sam-translator==1.115.0 PyYAML==6.0.4."""

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

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

Json = Any
ACCOUNT = "123456789012"
PSEUDO = {"AWS::StackName": "stack", "AWS::Region": "us-east-1", "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
DEPLOYMENTS = {
    "dev": {},
    "bare": {"AccessLogs": "none"},
    "prod": {"Stage": "prod", "Architecture": "arm64", "ModelProvider": "bedrock", "ModelName": "maker.model-v1:0"},
    "full": {
        "Stage": "prod", "Architecture": "arm64", "AlarmEmail": "ops@example.com", "DomainName": "api.example.com", "HostedZoneId": "Z1",
        "CertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1", "Firewall": "waf", "PasswordConcurrency": "20",
        "KmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1", "AllowedOrigins": "https://chat.example.com",
        "ModelProvider": "openai", "ModelName": "gpt-4o-mini", "OpenAiApiKeySecret": "prod/provider-key",
    },
}  # fmt: skip
SIGNING = {"UsersRegister", "UsersLogin", "TokenRefresh"}
ROLLBACK = {"ServerErrors", "SlowAnswers"}
NOTHING = {"Ref": "AWS::NoValue"}

failures = 0


def report(passed: object, *columns: object) -> None:
    global failures
    if not passed:
        print("FAIL", *columns, sep="  ")
        failures += 1


class Evaluated:
    """A template with its parameters and conditions decided. What only a deployment knows stays as it is."""

    def __init__(self, template: Json, parameters: dict[str, str]) -> None:
        self.parameters, self.conditions = parameters, template.get("Conditions", {})
        resources = {name: body for name, body in template["Resources"].items() if self.holds(body.get("Condition"))}
        self.resources: dict[str, Json] = self.value(resources)
        self.outputs = self.value({name: body for name, body in template["Outputs"].items() if self.holds(body.get("Condition"))})

    def holds(self, condition: Json) -> bool:
        match condition:
            case None:
                return True
            case str(name) | {"Condition": str(name)}:
                return self.holds(self.conditions[name])
            case {"Fn::Not": [one]}:
                return not self.holds(one)
            case {"Fn::And": each}:
                return all(self.holds(one) for one in each)
            case {"Fn::Or": each}:
                return any(self.holds(one) for one in each)
            case {"Fn::Equals": [left, right]}:
                return str(self.value(left)) == str(self.value(right))
        raise ValueError(condition)

    def value(self, of: Json) -> Json:
        match of:
            case {"Ref": name} if name in self.parameters:
                return self.parameters[name]
            case {"Ref": name} if name in PSEUDO:
                return PSEUDO[name]
            case {"Fn::If": [condition, yes, no]}:
                return self.value(yes if self.holds(condition) else no)
            case {"Fn::Sub": str(text)}:
                return self.substitute(text, {})
            case {"Fn::Sub": [text, names]}:
                return self.substitute(text, self.value(names))
            case {"Fn::Split": [separator, text]}:
                return str(self.value(text)).split(separator)
            case {"Fn::Select": [index, items]}:
                return self.value(items)[int(index)]
            case {"Fn::Join": [separator, items]} if all(isinstance(item, str) for item in self.value(items)):
                return separator.join(self.value(items))
            case dict():
                decided = {key: self.value(inner) for key, inner in of.items()}
                return {key: inner for key, inner in decided.items() if inner != NOTHING}
            case list():
                return [inner for inner in map(self.value, of) if inner != NOTHING]
        return of

    def substitute(self, text: str, names: dict[str, Json]) -> Json:
        known = PSEUDO | self.parameters | {name: value for name, value in names.items() if isinstance(value, str)}
        text = re.sub(r"\$\{([\w:.]+)\}", lambda found: str(known.get(found[1], found[0])), text)
        rest = {name: value for name, value in names.items() if f"${{{name}}}" in text}
        if "${" not in text:
            return text
        return {"Fn::Sub": [text, rest] if rest else text}

    def of_type(self, kind: str) -> dict[str, Json]:
        return {name: body["Properties"] for name, body in self.resources.items() if body["Type"] == kind}


def names_in(value: Json, known: set[str]) -> set[str]:
    """The resources that a value names, and that must be there before it."""
    match value:
        case {"Ref": str(name)}:
            return {name} & known
        case {"Fn::GetAtt": [str(name), _]} | {"Fn::GetAtt": str(name)}:
            return {name.split(".")[0]} & known
        case {"Fn::Sub": text}:
            inner = names_in(text[1], known) if isinstance(text, list) else set()
            template = text[0] if isinstance(text, list) else text
            return inner | {found.split(".")[0] for found in re.findall(r"\$\{([\w.]+)\}", template)} & known
        case dict():
            return set().union(*(names_in(inner, known) for inner in value.values()))
        case list():
            return set().union(*(names_in(inner, known) for inner in value))
    return set()


def check_graph(name: str, deployed: Evaluated) -> None:
    """CloudFormation can order the resources: what one names is there, and nothing waits for itself."""
    known = set(deployed.resources)
    waits = {}
    for resource, body in deployed.resources.items():
        after = body.get("DependsOn", [])
        after = {after} if isinstance(after, str) else set(after)
        report(after <= known, name, resource, "depends on what is not there", after - known)
        policy = body.get("UpdatePolicy", {})
        waits[resource] = (names_in([body.get("Properties", {}), policy], known) | after) - {resource}
        for ref in re.findall(r'"Ref": "(\w+)"|"Fn::GetAtt": \["(\w+)"', json.dumps(body)):
            report(set(filter(None, ref)) <= known, name, resource, "names what is not there", ref)
    while ready := {resource for resource, after in waits.items() if not after & waits.keys()}:
        waits = {resource: after for resource, after in waits.items() if resource not in ready}
    report(not waits, name, "these wait for each other", sorted(waits))
    report(len(known) <= 500, name, f"{len(known)} resources, of 500")
    size = len(json.dumps(deployed.resources))
    report(size < 900_000, name, f"{size} bytes, of 1 MB")
    print(f"{name}: {len(known)} resources, {size / 1000:.0f} kB")


def check_functions(name: str, deployed: Evaluated) -> None:
    """Every function is called through its alias, tells what it does, and is replaced gradually in prod."""
    resources, prod = deployed.resources, name in {"prod", "full"}
    functions = deployed.of_type("AWS::Lambda::Function")
    groups = deployed.of_type("AWS::CodeDeploy::DeploymentGroup")
    versions = deployed.of_type("AWS::Lambda::Version")
    for function, body in functions.items():
        variables = body["Environment"]["Variables"]
        version = next((made for made in versions.values() if made["FunctionName"] == {"Ref": function}), {})
        report(version.get("Description") == "1", function, "add to its properties in template.yaml: VersionDescription: !Ref Release")
        common = {"STAGE": "prod" if prod else "dev", "METRICS_NAMESPACE": "stack", "RELEASE": "1", "TABLE_NAME": {"Ref": "Table"}}
        report(common.items() <= variables.items(), function, "the variables of all functions, in Globals", common)
        report(body["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLogs"}}, function, "the log group of all functions, in Globals")
        report(body["TracingConfig"] == {"Mode": "Active"}, function, "tracing")
        report(body["Architectures"] == ["arm64" if prod else "x86_64"], function, "architecture")
        report({tag["Key"] for tag in body["Tags"]} >= {"application", "stage"}, function, "tags")
        report(("SIGNING_SEED" in variables) == (function in SIGNING), function, "only", SIGNING, "sign")
        alias = resources.get(f"{function}Aliaslive", {})
        report(alias.get("Type") == "AWS::Lambda::Alias", function, "the alias live, in Globals")
        gradual = alias.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate", {}).get("DeploymentGroupName")
        report(gradual == ({"Ref": f"{function}DeploymentGroup"} if prod else None), function, "gradual deployment in prod")
        alarms = groups.get(f"{function}DeploymentGroup", {}).get("AlarmConfiguration", {}).get("Alarms", [])
        report({alarm["Name"]["Ref"] for alarm in alarms} == (ROLLBACK if prod else set()), function, "alarms that roll back")
    for permission, body in deployed.of_type("AWS::Lambda::Permission").items():
        called = body["FunctionName"].get("Ref", "")
        report(called.endswith("Aliaslive") and called in resources, permission, "permits the alias", called)
    secrets = {function for function, body in functions.items() if "resolve:secretsmanager" in json.dumps(body)}
    report(secrets == SIGNING, "secrets are resolved into the environment of", secrets)
    reserved = {function for function, body in functions.items() if "ReservedConcurrentExecutions" in body}
    report(reserved == ({"UsersRegister", "UsersLogin"} if name == "full" else set()), name, "reserved concurrency", reserved)


def check_models(name: str, source: Json, deployed: Evaluated) -> None:
    """Who asks models may ask the provider of this deployment and read its key, and nobody else may."""
    asked = {
        "prod": [("bedrock:InvokeModelWithResponseStream", [
            "arn:aws:bedrock:*::foundation-model/*",
            f"arn:aws:bedrock:*:{ACCOUNT}:inference-profile/*",
            f"arn:aws:bedrock:*:{ACCOUNT}:application-inference-profile/*",
        ])],
        "full": [("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:prod/provider-key-??????")],
    }  # fmt: skip
    for function, body in source["Resources"].items():
        if body["Type"] != "AWS::Serverless::Function":
            continue
        policies = deployed.resources[f"{function}Role"]["Properties"].get("Policies", [])
        statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
        allowed = [(one["Action"], one["Resource"]) for one in statements if str(one["Action"]).startswith(("bedrock:", "secretsmanager:"))]
        wanted = asked.get(name, []) if "HOLD_LEASE_SECONDS" in json.dumps(body) else []
        report(allowed == wanted, name, function, "may", allowed, "and should", wanted)


def routes_of(source: Json, *functions: str) -> set[tuple[str, str]]:
    events = [event["Properties"] for name in functions for event in source["Resources"][name]["Properties"]["Events"].values()]
    return {(event["Method"].upper(), event["Path"]) for event in events}


def check_gateway(name: str, source: Json, deployed: Evaluated) -> None:
    """Routes call aliases, streams stay streams, throttles and the firewall know the routes that need them, errors are ours."""
    ((_, api),) = deployed.of_type("AWS::ApiGateway::RestApi").items()
    ((_, stage),) = deployed.of_type("AWS::ApiGateway::Stage").items()
    report(api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}, "regional")
    report(api["Body"]["info"]["title"] == "stack" and "Name" not in api, "alarms and dashboard know the API by the name of the stack")
    report(stage["TracingEnabled"] is True, "tracing of the gateway")
    asking = [f for f, body in source["Resources"].items() if "HOLD_LEASE_SECONDS" in json.dumps(body)]
    for function in source["Resources"].values():
        for event in function.get("Properties", {}).get("Events", {}).values():
            if event["Type"] != "Api":
                continue
            called = api["Body"]["paths"][event["Properties"]["Path"]][event["Properties"]["Method"]]["x-amazon-apigateway-integration"]
            uri, streams = json.dumps(called["uri"]), "ResponseTransferMode" in event["Properties"]
            report("Aliaslive" in uri, event["Properties"]["Path"], "calls the alias")
            report(("/response-streaming-invocations" in uri) == streams, event["Properties"]["Path"], "streams", uri)
            report(called.get("responseTransferMode") == ("STREAM" if streams else None), event["Properties"]["Path"], "transfer mode")
    throttled = {(setting["HttpMethod"], setting["ResourcePath"][1:].replace("~1", "/")): setting for setting in stage["MethodSettings"]}
    for limits, functions in (("Message", asking), ("Password", ["UsersRegister", "UsersLogin"])):
        for route in routes_of(source, *functions):
            setting = throttled.get(route, {})
            encoded = "/" + route[1].replace("/", "~1")
            report(
                str(setting.get("ThrottlingBurstLimit")) == deployed.parameters[f"{limits}Burst"]
                and str(setting.get("ThrottlingRateLimit")) == deployed.parameters[f"{limits}sPerSecond"],
                route, "add to MethodSettings:",
                f'{{HttpMethod: {route[0]}, ResourcePath: "{encoded}", ThrottlingRateLimit: !Ref {limits}sPerSecond, ThrottlingBurstLimit: !Ref {limits}Burst}}',
            )  # fmt: skip
    report(throttled.get(("*", "*")), "a throttle of all routes")
    if name != "bare":
        line = json.loads(stage["AccessLogSetting"]["Format"])
        report(len(line) > 8 and "$context.path" not in line.values(), "access log", line)
    members = {"status", "code", "detail", "error", "message", "request_id"}
    kinds = {"DEFAULT_4XX", "DEFAULT_5XX", "MISSING_AUTHENTICATION_TOKEN", "RESOURCE_NOT_FOUND", "REQUEST_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE",
             "THROTTLED", "QUOTA_EXCEEDED", "WAF_FILTERED", "INTEGRATION_TIMEOUT", "INTEGRATION_FAILURE"}  # fmt: skip
    answers = api["Body"]["x-amazon-apigateway-gateway-responses"]
    report(set(answers) == kinds, "gateway responses", set(answers) ^ kinds)
    for kind, answer in answers.items():
        text = answer["responseTemplates"]["application/json"]
        body = json.loads(text.replace("$context.error.messageString", '"text"').replace("$context.requestId", "r-1"))
        report(set(body) == members and body["detail"] == body["error"] == body["message"] and body["request_id"] == "r-1", kind, body)
        headers = {header.rsplit(".", 1)[1] for header in answer["responseParameters"]}
        wanted = {"Access-Control-Allow-Origin", "Cache-Control", "Vary", "X-Content-Type-Options", "X-Request-Id"}
        waits = {"Retry-After"} if kind in {"THROTTLED", "QUOTA_EXCEEDED"} else set()
        report(headers == wanted | waits, kind, headers)
    if name != "full":
        return
    rules = {rule["Name"]: rule["Statement"] for rule in deployed.of_type("AWS::WAFv2::WebACL")["WebAcl"]["Rules"]}
    everything = {("", path) for path in api["Body"]["paths"]}
    for rule, function in (("logins", "UsersLogin"), ("signups", "UsersRegister")):
        pattern = re.compile(rules[rule]["RateBasedStatement"]["ScopeDownStatement"]["RegexMatchStatement"]["RegexString"])
        paths = {path for _, path in routes_of(source, function)}
        caught = {path for _, path in everything if all(pattern.search(f"{stage}{path}{end}") for stage in ("", "/prod") for end in ("", "/", "//"))}
        report(caught == paths, rule, "of the firewall concerns", caught, "and should concern", paths)


def check_table(name: str, deployed: Evaluated) -> None:
    """Nothing that people do to a deployment replaces or loses what is stored."""
    table, body = deployed.resources["Table"], deployed.resources["Table"]["Properties"]
    report(table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain", "the table stays")
    report("TableName" not in body, "a name of one's own would have to change with whatever replaces the table")
    # Changes of these replace a table.
    report(body["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}], "the key", body["KeySchema"])
    report(body["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, "point-in-time recovery")
    report(body["DeletionProtectionEnabled"] is (name in {"prod", "full"}), name, "deletion protection in prod")
    report(body["SSESpecification"]["SSEEnabled"] is True, "encryption")
    report(("KMSMasterKeyId" in body["SSESpecification"]) == (name == "full"), name, "one's own key")
    for group, settings in deployed.of_type("AWS::Logs::LogGroup").items():
        report(str(settings.get("RetentionInDays")) == "30", group, "retention")
        report(("KmsKeyId" in settings) == (name == "full"), group, "one's own key")


def check_alarms(name: str, deployed: Evaluated) -> None:
    alarms = deployed.of_type("AWS::CloudWatch::Alarm")
    for alarm, body in alarms.items():
        report(body["AlarmActions"] == [{"Ref": "AlarmTopic"}], alarm, "tells the topic")
        report(body["TreatMissingData"] == "notBreaching", alarm, "says what missing data means")
    board = deployed.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"][0]
    board = json.loads(re.sub(r"\$\{([\w.]+)\}", r"\1", board))
    shown = {found.removesuffix(".Arn") for widget in board["widgets"] for found in widget["properties"].get("alarms", [])}
    report(shown == set(alarms), "the dashboard's alarms", shown ^ set(alarms))
    for widget in board["widgets"]:
        report(widget["x"] + widget["width"] <= 24 and widget["properties"]["title"], "widget", widget)


def check_parameters(source: Json) -> None:
    """The console shows every parameter in one group, with what it means and what it may be."""
    parameters = source["Parameters"]
    shown = [name for group in source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"] for name in group["Parameters"]]
    for name, body in parameters.items():
        report(shown.count(name) == 1, name, "add it to one of the ParameterGroups under Metadata")
        report(len(body.get("Description", "")) > 15, name, "has no description")
        bounds = {"AllowedValues", "AllowedPattern"} if body["Type"] == "String" else {"AllowedValues", "MinValue"}
        report(bounds & body.keys() or name in FREE, name, "give it one of", bounds)
        report("Default" in body, name, "has no default")
        pattern = body.get("AllowedPattern")
        report(pattern is None or re.fullmatch(pattern, str(body["Default"])), name, "its own default is not allowed")
    report(set(shown) <= set(parameters), "groups name what is no parameter", set(shown) - set(parameters))


# Texts that may be anything; the functions check what they mean when they start.
FREE = {"ModelName", "ModelFallback", "ModelChoices", "ModelPrices", "SystemPrompt"}


def main(path: str, results: str) -> int:
    source = json.loads(json.dumps(yaml_parse(Path(path).read_text(encoding="utf-8"))))
    check_parameters(source)
    defaults = {name: str(body["Default"]) for name, body in source["Parameters"].items()}
    identities = set()
    for name, given in DEPLOYMENTS.items():
        for parameter, value in given.items():
            body = source["Parameters"][parameter]
            allowed = value in map(str, body["AllowedValues"]) if "AllowedValues" in body else re.fullmatch(body.get("AllowedPattern", ".*"), value)
            report(allowed, name, parameter, "may not be", value)
        packaged = json.loads(json.dumps(source))
        packaged["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
        deployed = Evaluated(transform(packaged, defaults | given, SimpleNamespace(load=dict)), defaults | given)
        check_graph(name, deployed)
        check_functions(name, deployed)
        check_gateway(name, source, deployed)
        check_models(name, source, deployed)
        check_table(name, deployed)
        check_alarms(name, deployed)
        identities.add(json.dumps([deployed.resources["Table"]["Properties"]["AttributeDefinitions"], sorted(deployed.resources["SigningSeed"])]))
        Path(results).mkdir(parents=True, exist_ok=True)
        whole = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": deployed.resources}
        (Path(results) / f"{name}.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    report(len(identities) == 1, "table and seed are the same in every deployment")
    print(f"{failures} failures")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
