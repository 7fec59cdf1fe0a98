import re

import pytest

from emolib import DataError
from emolib.data import aaid, prompts

TOKENIZERS = ["byte_tokenizer", "unigram_tokenizer", "smollm2_tokenizer"]
ROW = {"task": "EI-reg", "instruction": "How much E?", "text": "so it begins", "emotion": "joy"}


def find_merged(rows, tokenizer) -> list[dict]:
    """Rows whose prompt's tokens are not a prefix of the whole row's."""
    whole = [p + c for p, c in zip(rows["prompt"], rows["completion"], strict=True)]
    asked = tokenizer(list(rows["prompt"])).input_ids
    pairs = enumerate(zip(asked, tokenizer(whole).input_ids, strict=True))
    return [rows[i] for i, (a, b) in pairs if b[: len(a)] != a or len(b) == len(a)]


def test_paper_form_is_the_released_shape():
    assert prompts.render(ROW | {"gold": "0.5"}) == {
        "prompt": "Human: \nTask: How much E? Tweet: so it begins. Emotion E: joy."
        " Intensity Score: \n\nAssistant:\n",
        "completion": "0.500",
    }


def test_plain_form_ends_in_the_answers_name():
    assert prompts.render(ROW | {"gold": "0.5"}, "plain") == {
        "prompt": "How much E?\n\nTweet: so it begins\nEmotion E: joy\nIntensity Score:",
        "completion": " 0.500",
    }


def test_chat_form_is_the_tokenizers_template(byte_tokenizer):
    made = prompts.render(ROW, "chat", byte_tokenizer)
    plain = prompts.render(ROW, "plain")["prompt"]
    assert made == {"prompt": f"<|user|>\n{plain}\n<|assistant|>\n"}


def test_chat_form_leaves_the_start_token_to_the_tokenizer(byte_tokenizer, monkeypatch):
    template = "{{ bos_token }}" + byte_tokenizer.chat_template
    monkeypatch.setattr(byte_tokenizer, "chat_template", template)
    made = prompts.render(ROW, "chat", byte_tokenizer)["prompt"]
    ids = byte_tokenizer(made).input_ids
    assert [i for i, x in enumerate(ids) if x == byte_tokenizer.bos_token_id] == [0]


@pytest.mark.parametrize("end", [".", "!", "?"])
def test_full_stop_is_not_added_twice(end):
    made = prompts.render(ROW | {"text": f"so it begins{end}  "})["prompt"]
    assert f"Tweet: so it begins{end} Emotion E: joy." in made


@pytest.mark.parametrize(
    ("change", "form", "reason"),
    [
        ({}, "papre", "no prompt form 'papre': the forms are paper, published"),
        ({"text": " \n"}, "paper", "EI-reg: a prompt needs a text"),
        ({"emotion": None}, "paper", "emotion None, expected one of anger, fear"),
        ({"emotion": "awe"}, "plain", "emotion 'awe', expected one of anger"),
        ({"task": "EI"}, "paper", "no task 'EI'"),
        ({}, "chat", "needs a tokenizer with a chat template"),
    ],
)
def test_row_that_makes_no_prompt_is_an_error(change, form, reason):
    with pytest.raises(DataError, match=reason):
        prompts.render(ROW | change, form)


@pytest.mark.parametrize("form", prompts.FORMS)
def test_form_is_read_off_every_prompt(form, sample_aeb, byte_tokenizer):
    rows = [prompts.render(row, form, byte_tokenizer) for row in sample_aeb]
    assert {prompts.form_of(row["prompt"]) for row in rows} == {form}


# In form "published" an answer is encoded apart (test_series.py): nothing can merge.
@pytest.mark.slow
@pytest.mark.parametrize("form", [f for f in prompts.FORMS if f != prompts.PUBLISHED])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_prompt_tokens_are_a_prefix_on_every_sample_row(request, name, form):
    tokenizer = request.getfixturevalue(name)
    for split, rows in aaid.build("sample", form=form, tokenizer=tokenizer).items():
        assert find_merged(rows, tokenizer) == [], split


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_prompt_tokens_are_a_prefix_on_real_rows(request, name, real_aaid):
    rows = real_aaid["train"].select(range(0, 234_040, 23))
    assert find_merged(rows, request.getfixturevalue(name)) == []


def test_prefix_check_finds_a_prompt_that_merges(byte_tokenizer):
    from datasets import Dataset

    whole = "can be inferred"  # its last word is one token, cut in two here
    rows = Dataset.from_list([{"prompt": whole[:-3], "completion": whole[-3:]}])
    assert len(find_merged(rows, byte_tokenizer)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", prompts.FORMS)
def test_no_prompt_ends_in_a_space(form, byte_tokenizer):
    rows = aaid.build("sample", form=form, tokenizer=byte_tokenizer)["train"]
    last = r" \Z" if form == prompts.PUBLISHED else r" $"  # its last line ends in one
    assert not [prompt for prompt in rows["prompt"] if re.search(last, prompt)]


@pytest.mark.slow
def test_real_prompts_have_the_released_shape(release, real_aeb):
    instruction = re.compile(r"(?<=Human: \nTask: ).*?(?= Tweet: )", re.DOTALL)

    def strip(prompt: str) -> str:
        """Without instruction, and without space and full stops, which it adds."""
        return re.sub(r"[\s.]", "", instruction.sub("", prompt, count=1))

    ours, theirs = real_aeb["prompt"].map(strip), release["prompt"].map(strip)
    assert ours.tolist() == theirs.tolist()


def test_zero_shot_scores_are_asked_for_as_in_training():
    found = prompts.instructions("V-A")
    assert found == prompts.instructions("V-reg")
    assert prompts.read_range("V-A", found[3]) == (0, 1)
    assert prompts.read_range("V-A", "An instruction as released.") == (-4, 4)


def test_completion_of_a_zero_shot_task_is_on_the_range_asked():
    row = {"task": "EmoBank-A", "text": "a b", "gold": "2.0"}
    own = prompts.instructions("EmoBank-A")[0]
    for instruction, wanted in ((own, "0.250"), ("As released.", "2.000")):
        found = prompts.render(row | {"instruction": instruction})
        assert found["completion"] == wanted


def test_completion_of_a_bare_class_has_its_words():
    row = {"task": "TDT", "text": "a b", "gold": "-1", "instruction": "Say."}
    assert prompts.render(row)["completion"] == "-1: negative"
