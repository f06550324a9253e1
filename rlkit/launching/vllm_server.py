"""The command of a vLLM server that a GRPO run with `train.vllm_mode: server` generates with.

vLLM's own server, with what TRL's trainer needs of it (`trl vllm-serve`, which is deprecated, adds the same). Starts nothing.
"""

from __future__ import annotations

import json
from importlib import metadata
from urllib.parse import urlsplit

from rlkit.config import Config
from rlkit.errors import ConfigError

_SCALE_OUT_SINCE = (0, 30)  # before it, the endpoints that TRL asks are always there


def vllm_server(config: Config, gpus: int) -> tuple[list[str], dict[str, str]]:
    """The arguments behind `python` and the environment of the server that this run's trainer will look for.

    One model split over `gpus` GPUs, at the port of `train.vllm_server_base_url` or `train.vllm_server_port`. Raises
    `ConfigError` for a config that looks for no server or whose model is made by the run itself.
    """
    if config.method != "grpo" or not config.setting("use_vllm") or config.setting("vllm_mode") != "server":
        raise ConfigError(
            "--vllm-server: the config generates without a server; set train.use_vllm=true train.vllm_mode=server "
            "train.vllm_server_host=HOST."
        )
    name = config.model.get("model_name_or_path")
    if name is None or config.tag_tokens:
        raise ConfigError(
            "--vllm-server: scratch: and tag_tokens: make the model when training starts, so there is none to serve yet; start "
            "from a model that is there (model.model_name_or_path), or use train.vllm_mode=colocate."
        )
    words = ["-m", "vllm.entrypoints.cli.main", "serve", str(name), "--host", "0.0.0.0", "--port", str(_port(config))]
    words += ["--tensor-parallel-size", str(gpus), "--dtype", str(config.model.get("dtype") or "auto")]
    if config.model.get("model_revision"):
        words += ["--revision", str(config.model["model_revision"])]
    if config.setting("vllm_max_model_length") is not None:
        words += ["--max-model-len", str(config.setting("vllm_max_model_length"))]
    if config.train.get("trust_remote_code"):
        words += ["--trust-remote-code"]
    if _version() >= _SCALE_OUT_SINCE:
        words += ["--enable-scale-out"]
    # TRL 1.16, trl/scripts/vllm_serve.py: weights come by NCCL, log probabilities are those of the sampled distribution.
    words += ["--weight-transfer-config", json.dumps({"backend": "nccl"})]
    words += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    return words, {"VLLM_SERVER_DEV_MODE": "1"}


def _port(config: Config) -> int:
    url = config.setting("vllm_server_base_url")
    if url is None:
        return int(config.setting("vllm_server_port"))
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise ConfigError(f"train.vllm_server_base_url: {url!r:.80} is no address: {error}.") from error
    return port or 80


def _version() -> tuple[int, int]:
    """Of the vLLM installed here; where there is none, one that every TRL of these versions works with."""
    try:
        major, minor, *_ = metadata.version("vllm").split(".")
        return int(major), int("".join(filter(str.isdigit, minor)) or 0)
    except (metadata.PackageNotFoundError, ValueError):
        return (0, 0)
