"""The Seq2SeqTrainer of transformers for T5 and BART, set up like `sft_trainer`'s."""

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

from emolib.training.best_step import ScoredEvaluation
from emolib.training.record import explaining
from emolib.training.sft_trainer import make_float32
from emolib.training.shared_batches import TaskMixingSampler, list_keys


class PairTrainer(ScoredEvaluation, TaskMixingSampler, Seq2SeqTrainer):
    """Seq2SeqTrainer whose optimizer steps see all tasks, with LoRA if it is given.

    `arguments`: those of SFTConfig in notebook 2; rows: of `tokens.keep_short`, style "decoder".
    """

    def __init__(
        self,
        model,
        tokenizer,
        rows: tuple[Dataset, Dataset],
        arguments: dict,
        peft_config: LoraConfig | None = None,
        callbacks=(),
    ):
        arguments = dict(arguments)
        again = arguments.pop("activation_checkpointing", False)
        if again:
            model.enable_input_require_grads()
        if peft_config:
            peft_config.task_type = "SEQ_2_SEQ_LM"
            set_seed(arguments["seed"])  # the adapter is drawn before the trainer does
            model = get_peft_model(model, peft_config)
        columns = ["input_ids", "labels"]
        with explaining(arguments["output_dir"]):
            super().__init__(
                model=model,
                args=Seq2SeqTrainingArguments(**arguments, gradient_checkpointing=again),
                train_dataset=rows[0].select_columns(columns),
                eval_dataset=rows[1].select_columns(columns),
                processing_class=tokenizer,
                data_collator=DataCollatorForSeq2Seq(tokenizer, model),
                callbacks=list(callbacks),
            )
        self.keys = list_keys(rows[0])
        self.set_validation(rows[1])
        make_float32(self.model)
