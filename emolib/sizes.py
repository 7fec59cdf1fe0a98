"""How many parameters a model has, and of which kind, from its configuration alone.

They are counted on the meta device, where tensors have shapes and no contents: exact
for whatever architecture transformers has, at no cost.
"""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from emolib import DataError

DECODERS = ("num_decoder_layers", "decoder_layers")


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters, unless said otherwise."""

    total: int  # tied ones once
    quantized: int  # those that bitsandbytes turns into nf4
    single: int  # those that stay in float32 where the rest is float16 (T5's)
    ranks: int  # of an adapter of rank 1: inputs and outputs of all linear layers
    reading: int  # in linear layers that every token of a prompt goes through
    answering: int  # in those that the answer's tokens alone go through (decoders)
    head: int  # in the output layer
    vocabulary: int
    largest: int  # in the largest linear layer below the head
    layers: int
    width: int


def count(config: PretrainedConfig) -> Counts:
    """The sizes of a model that has this configuration."""
    model = make(config)
    head = model.get_output_embeddings()
    kept = {*get_keys_to_not_convert(model), *(model._keep_in_fp32_modules or ())}
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    sizes = {name: module.weight.numel() for name, module in linear.items()}
    answering = 0
    if config.is_encoder_decoder:
        answering = sum(n for name, n in sizes.items() if "decoder" in name.split("."))
    return Counts(
        total=model.num_parameters(),
        quantized=sum(n for k, n in sizes.items() if should_convert_module(k, kept)),
        single=sum(
            weights.numel()
            for name, weights in model.named_parameters()
            if set(name.split(".")) & set(model._keep_in_fp32_modules or ())
        ),
        ranks=sum(sum(module.weight.shape) for module in linear.values()),
        reading=sum(sizes.values()) - answering,
        answering=answering,
        head=head.weight.numel(),
        vocabulary=len(head.weight),
        largest=max(sizes.values()),
        layers=_count_layers(config),
        width=config.hidden_size,
    )


def make(config: PretrainedConfig, **options):
    """The language model of this configuration on the meta device, or DataError."""
    decodes = config.is_encoder_decoder
    kind = AutoModelForSeq2SeqLM if decodes else AutoModelForCausalLM
    try:
        with torch.device("meta"):
            return kind.from_config(config, **options)
    except Exception as error:  # configurations are wrong in every way
        raise DataError(
            f"no language model can be made of a configuration of type"
            f" {config.model_type!r}: {str(error).splitlines()[0]}"
        ) from error


def _count_layers(config: PretrainedConfig) -> int:
    """Layers; of encoder and decoder pairs, or as many as the deeper one has."""
    beside = [getattr(config, name, 0) or 0 for name in DECODERS]
    return max(config.num_hidden_layers, *beside)
