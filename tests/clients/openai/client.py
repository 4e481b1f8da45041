"""OpenAI's SDK for Python against any server that speaks its API, one scenario at a time.

    OPENAI_BASE_URL=… OPENAI_API_KEY=… CLIENT_MODEL=… python client.py <scenario>

Prints one line of JSON about what came, with the number of HTTP requests that the SDK made of it; exits with 1 if it is not what a
program could rely on. `client.mjs` does the same with the SDK for Node.
"""

import json
import os
import sys
import time
import traceback

import httpx2
import openai

MODEL = os.environ["CLIENT_MODEL"]
MESSAGE = os.environ.get("CLIENT_MESSAGE", "Say hello.")
MAX_TOKENS = int(os.environ.get("CLIENT_MAX_TOKENS", "24"))

sent: list[str] = []


def keep(request: httpx2.Request) -> None:
    sent.append(request.headers["x-stainless-retry-count"])


def client(**more) -> openai.OpenAI:
    # The SDK as it is; the hook only counts.
    return openai.OpenAI(http_client=openai.DefaultHttpxClient(event_hooks={"request": [keep]}), **more)


def ask(with_client: openai.OpenAI | None = None, **more):
    more = {"model": MODEL, "messages": [{"role": "user", "content": MESSAGE}], "max_tokens": MAX_TOKENS} | more
    return (with_client or client()).chat.completions.create(**more)


def check_usage(usage) -> dict:
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def check_answer(answer) -> dict:
    assert answer.id and answer.object == "chat.completion" and answer.created > 0, answer
    (choice,) = answer.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content, answer
    assert choice.finish_reason in ("stop", "length"), answer
    said = {"id": answer.id, "model": answer.model, "text": choice.message.content, "finish": choice.finish_reason}
    return said | check_usage(answer.usage)


def check_stream(stream, with_usage: bool) -> dict:
    texts, finishes, usages, ids, models, roles, pauses = [], [], [], set(), set(), [], []
    last = time.monotonic()
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk", chunk
        ids.add(chunk.id)
        models.add(chunk.model)
        if chunk.usage is not None:
            assert not chunk.choices and not usages, f"usage comes once, after everything else: {chunk}"
            usages.append(chunk.usage)
        for choice in chunk.choices:
            assert not finishes, f"nothing follows the finish reason: {chunk}"
            assert choice.index == 0, chunk
            if choice.delta.role:
                roles.append(choice.delta.role)
            if choice.delta.content:
                texts.append(choice.delta.content)
                pauses.append(round((time.monotonic() - last) * 1000))
                last = time.monotonic()
            if choice.finish_reason:
                finishes.append(choice.finish_reason)
    assert len(ids) == 1 and len(models) == 1, (ids, models)
    assert texts and finishes[0] in ("stop", "length") and set(roles) <= {"assistant"}, (texts, finishes, roles)
    assert len(usages) == (1 if with_usage else 0), usages
    said = {"id": ids.pop(), "model": models.pop(), "text": "".join(texts), "pieces": len(texts), "finish": finishes[0]}
    return said | {"pauses_ms": pauses} | (check_usage(usages[0]) if usages else {})


def refused(kind: type[openai.APIStatusError], status: int, code: str, call=ask) -> dict:
    try:
        call()
    except openai.APIStatusError as error:
        seen = (type(error), error.status_code, error.code)
        assert seen == (kind, status, code), f"{seen}, {error}"
        assert error.message and error.type and error.request_id, vars(error)
        assert sent == ["0"], f"sent again although nothing else can come of it: {sent}"
        return {"status": status, "code": code, "message": error.message, "type": error.type}
    raise AssertionError("it was not refused")


def retried(stream: bool) -> dict:
    """Asks until the SDK had to send one of its requests again."""
    began, calls = time.monotonic(), 0
    while len(sent) == calls and calls < 5:
        calls += 1
        said = check_stream(ask(stream=True), False) if stream else check_answer(ask())
    assert len(sent) > calls, "nothing was refused"
    return said | {"calls": calls, "seconds": round(time.monotonic() - began, 2)}


def broken(call) -> dict:
    try:
        call()
    except openai.APIError as error:
        assert sent == ["0"], f"a stream that has begun was asked for again: {sent}"
        return {"error": type(error).__name__, "code": error.code, "message": str(error)}
    raise AssertionError("the stream ended well")


def leave() -> dict:
    """Takes the first piece of a long answer and goes."""
    stream = ask(stream=True, max_tokens=int(os.environ.get("CLIENT_MAX_TOKENS", "500")))
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            stream.close()
            return {"text": chunk.choices[0].delta.content}
    raise AssertionError("it said nothing")


def models() -> dict:
    listed = list(client().models.list())
    assert all(model.object == "model" and model.id and model.created for model in listed), listed
    assert MODEL in [model.id for model in listed], listed
    found = client().models.retrieve(MODEL) if os.environ.get("CLIENT_RETRIEVES") else None
    assert found is None or found.id == MODEL, found
    return {"models": [model.id for model in listed]}


def history() -> dict:
    said = [("system", "You answer in one word."), ("user", "Hello."), ("assistant", "Hello."), ("user", MESSAGE)]
    return check_answer(ask(messages=[{"role": role, "content": text} for role, text in said]))


LONG = "word " * int(os.environ.get("CLIENT_WORDS", "3000"))
TIMEOUT = float(os.environ.get("CLIENT_TIMEOUT", "1"))
BAD_KEY = {"api_key": "sk-nobody-has-this-key"}
KEYED = {"extra_headers": {"Idempotency-Key": os.environ.get("CLIENT_KEY", "a-key-of-the-clients-own")}}
SCENARIOS = {
    "models": models,
    "chat": lambda: check_answer(ask()),
    "history": history,
    "stream": lambda: check_stream(ask(stream=True), False),
    "stream-usage": lambda: check_stream(ask(stream=True, stream_options={"include_usage": True}), True),
    "bad-key": lambda: refused(openai.AuthenticationError, 401, "invalid_api_key", lambda: ask(client(**BAD_KEY))),
    "bad-key-stream": lambda: refused(
        openai.AuthenticationError, 401, "invalid_api_key", lambda: ask(client(**BAD_KEY), stream=True)
    ),
    "no-balance": lambda: refused(openai.APIStatusError, 402, "insufficient_quota"),
    "no-balance-stream": lambda: refused(openai.APIStatusError, 402, "insufficient_quota", lambda: ask(stream=True)),
    "too-long": lambda: refused(
        openai.BadRequestError, 400, "context_length_exceeded", lambda: ask(messages=[{"role": "user", "content": LONG}])
    ),
    "unknown-model": lambda: refused(openai.NotFoundError, 404, "model_not_found", lambda: ask(model="no-such-model")),
    # Whoever prepares the server says how often it refuses, or drops the connection, before it answers.
    "retried": lambda: retried(False),
    "retried-stream": lambda: retried(True),
    "retried-keyed": lambda: check_answer(ask(**KEYED)),
    # The client does not wait as long as the server takes, and asks again while it is still being answered.
    "impatient": lambda: check_answer(ask(client(timeout=TIMEOUT))),
    "impatient-stream": lambda: check_stream(ask(client(timeout=TIMEOUT), stream=True), False),
    "broken-stream": lambda: broken(lambda: list(ask(stream=True))),
    "leave": leave,
}


def main() -> int:
    scenario = sys.argv[1]
    try:
        said, failed = SCENARIOS[scenario](), False
    except Exception:
        said, failed = {"failed": traceback.format_exc()}, True
    print(json.dumps({"sdk": "python", "scenario": scenario, "requests": len(sent)} | said))
    return int(failed)


sys.exit(main())
