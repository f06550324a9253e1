"""What SFT and GRPO runs share: the model and tokenizer to start from, TRL's arguments, the loop around `train()`."""

from __future__ import annotations

import json
import logging
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.batches import Batches
from rlkit.checkpoints import MARK
from rlkit.config import Config
from rlkit.errors import ConfigError, RunError
from rlkit.runs import Run, identity, write_folder, write_json
from rlkit.scratch import scratch_model
from rlkit.sources import Sources
from rlkit.training import processes
from rlkit.training.callbacks import Journal, Stop
from rlkit.training.stopping import EXIT_CODE, Stopped
from rlkit.training.tags import TAGS, collect_rows_anywhere, tag_rows, tagged_model

_log = logging.getLogger(__name__)


def start_model(config: Config, run: Run, sources: Sources) -> str:
    """The hub name or folder of the model to start from; one of the config's own making is written to the run folder first.

    A folder is absolute, because an adapter notes it down and is read from other working directories.
    """
    shape = config.scratch
    if shape is not None:
        tags = TAGS if config.tag_tokens else ()
        seed = config.setting("seed")
        made = processes.first(lambda: scratch_model(run.start_model, shape, sources.texts(), seed, tags))
        return str(made.resolve())
    name = str(config.model["model_name_or_path"])
    if not config.tag_tokens:
        return str(Path(name).resolve()) if Path(name).is_dir() else name
    tokenizer = load_tokenizer(name, config)
    made = processes.first(lambda: tagged_model(name, tokenizer, run.start_model, model_options(config)))
    return str(made.resolve())


def load_tokenizer(name: str, config: Config) -> Any:
    """The tokenizer of a model folder or hub name; raises `ConfigError` where there is none or it has no template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            revision=config.model.get("model_revision", "main"),
            trust_remote_code=bool(config.train.get("trust_remote_code")),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.model_name_or_path: {name!r} has no tokenizer that can be loaded, so no prompt can be made; give a "
            f"model folder or a hub name that this machine can reach. ({str(error).splitlines()[0]})"
        ) from error
    template = config.train.get("chat_template_path")
    if template is not None:
        tokenizer.chat_template = _template(Path(template))
    if not tokenizer.chat_template:
        raise ConfigError(
            f"model.model_name_or_path: the tokenizer of {name!r} has no chat template, so messages cannot become a prompt; "
            "use an instruct model, or save a template with the tokenizer."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _template(path: Path) -> str:
    if path.suffix not in (".jinja", ".j2") or not path.is_file():
        raise ConfigError(f"train.chat_template_path: {str(path)!r} is no file *.jinja on this machine; name one.")
    return path.read_text(encoding="utf-8")


def trl_arguments(kind: type, config: Config, batches: Batches, **settings: Any) -> Any:
    """TRL's own config object from `train:` and `model:`; raises `ConfigError` with TRL's message where it refuses."""
    values = {**config.trl_settings(), **settings}
    values.pop("save_total_limit", None)  # ours: TRL removes the old checkpoint before the new one is known to be whole
    if batches.steps is None:  # packed: one pass over the sequences, however many they are
        values |= {"num_train_epochs": 1, "max_steps": -1}
    else:
        values["max_steps"] = batches.steps
    if processes.on_cpu(config):
        values.update(use_cpu=True)
        values.setdefault("bf16", False)
    try:
        args = kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"train: {kind.__name__} refuses these values: {error}") from error
    args.model_init_kwargs = model_options(config)
    return args


def model_options(config: Config) -> dict[str, Any]:
    """The keyword arguments for `from_pretrained` that the config's `model:` section asks for."""
    from trl import ModelConfig

    model = ModelConfig(**config.to_dict()["model"])
    options = {
        "revision": model.model_revision,
        "dtype": model.dtype,
        "attn_implementation": model.attn_implementation,
        "trust_remote_code": bool(config.train.get("trust_remote_code")),
    }
    return {key: value for key, value in options.items() if value is not None}


def adapter_options(config: Config, name: str, tokenizer: Any) -> dict[str, Any]:
    """LoRA and quantisation as TRL's trainers take them; with `tag_tokens` the rows of the tags are trained as well.

    Called before `trl_arguments`: those switch on ZeRO-3, and the empty model that is made here cannot be split.
    """
    from trl import ModelConfig, get_peft_config, get_quantization_config

    model = ModelConfig(**config.to_dict()["model"])
    adapter = get_peft_config(model)
    if adapter is not None and config.tag_tokens:
        adapter.trainable_token_indices = tag_rows(name, tokenizer, model_options(config))
        if config.train.get("deepspeed") and processes.on_cpu(config):
            collect_rows_anywhere()
    return {"peft_config": adapter, "quantization_config": get_quantization_config(model)}


def journal(config: Config, run: Run, facts: Mapping[str, Any]) -> Journal:
    """The callback that writes metrics.jsonl and makes checkpoints resumable."""
    noted = {**facts, **identity(config, processes.world_size())}
    return Journal(run, noted, config.setting("save_total_limit"))


def finish(trainer: Any, run: Run, facts: Mapping[str, Any], outcome: Mapping[str, Any] | None = None) -> None:
    """Train from the newest complete checkpoint or from the start, save the model, and write done.json last.

    `outcome` is what training itself adds to done.json.
    """
    stop = Stop(run, max(1, trainer.args.max_steps // facts["rounds"]))
    trainer.add_callback(stop)
    checkpoint = processes.first(lambda: resumable(run, facts))
    started = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        stop.asked.deaf(stopped=stop.at_step is not None)  # a training that fails does not come to its end
    if stop.at_step is not None and not outcome:
        processes.first(lambda: None)  # the first process has marked the checkpoint before any other leaves
        if processes.rank() == 0:
            _log.info(
                "%s: stopped after step %d by %s; the same command goes on from there.",
                run.folder,
                stop.at_step,
                stop.asked.reason or "a signal to another process",
            )
        raise Stopped(EXIT_CODE)
    if hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config"):
        save_whole(trainer, run.adapter)
        processes.first(lambda: merge(trainer, run.adapter, run.model))
    else:
        save_whole(trainer, run.model)
    if trainer.is_world_process_zero():
        trainer.processing_class.save_pretrained(str(run.model))
        seconds = round(time.monotonic() - started, 1)
        write_json(run.done, {"steps": trainer.state.global_step, "seconds": seconds, **facts, **(outcome or {})})


def resumable(run: Run, facts: Mapping[str, Any]) -> Path | None:
    """The checkpoint to go on from; raises `RunError` where it was made over other rows than these."""
    checkpoint = run.checkpoint()
    if checkpoint is not None:
        noted = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        if noted.get("plan") != facts["plan"]:
            raise RunError(
                f"{checkpoint}: was trained on plan {noted.get('plan')}, but the rows of the sources now give plan "
                f"{facts['plan']}, so the run cannot go on where it was; put the old rows back, or choose another "
                "train.output_dir."
            )
    return checkpoint


def save_whole(trainer: Any, folder: Path) -> None:
    """Save what was trained from all processes; the folder takes its name when everything is in it."""
    draft = folder.with_name(f".{folder.name}")
    trainer.save_model(str(draft))
    processes.first(lambda: _rename(draft, folder))


def _rename(draft: Path, folder: Path) -> None:
    if folder.is_dir():  # of an earlier start that was killed before done.json
        shutil.rmtree(folder)
    draft.rename(folder)


def merge(trainer: Any, adapter: Path, folder: Path) -> None:
    """Write the whole model, adapter merged in, to `folder`, so that it is loaded and trained on like any other.

    The model is read anew, on the CPU: that of the trainer may be split over processes or quantised.
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # else the first process waits for the others to load the model with it
    name = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    options = {"dtype": "float32", **trainer.args.model_init_kwargs}
    base: Any = AutoModelForCausalLM.from_pretrained(name, **options)
    whole: Any = PeftModel.from_pretrained(base, str(adapter), torch_device="cpu").merge_and_unload()
    whole.generation_config = trainer.accelerator.unwrap_model(trainer.model).generation_config
    write_folder(folder, whole.save_pretrained)


def quiet_libraries() -> None:
    """Keep bars for single files and notices about TRL's own use of transformers off the terminal."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    # TRL itself sets the field that transformers calls deprecated; no config of a user can mend that.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)


def quiet(trainer: Any) -> None:
    """Take out the callbacks that print every metric to standard output; ours prints the headline."""
    from transformers import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def trackers_last(trainer: Any) -> None:
    """Let trackers see a log after the callbacks that add to it; transformers asks the trackers first."""
    from transformers.integrations import get_reporting_integration_callbacks

    for kind in get_reporting_integration_callbacks(trainer.args.report_to):
        tracker = trainer.pop_callback(kind)
        if tracker is not None:
            trainer.add_callback(tracker)
