"""Control tokens as ordinary text, by the tokenizers of real models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.models.driving import stored_folder
from tokenizers import Tokenizer

from llmrouter.inference.models.shared_tokenizer import SharedTokenizer, share_tokenizer

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"])
def both(request: pytest.FixtureRequest) -> tuple[SharedTokenizer, Tokenizer]:
    """A model's tokenizer as it is shared, and the plain one read to be no other."""
    folder = stored_folder(request.param, "int8")
    shared = share_tokenizer(folder.path, folder.vocab_size)
    plain = Tokenizer.from_str(shared.tokenizer.to_str())
    plain.encode_special_tokens = True
    return shared, plain


@settings(max_examples=200)
@given(data=st.data())
def test_the_plain_one_makes_the_tokens_of_one_that_was_read_to_make_them(
    both: tuple[SharedTokenizer, Tokenizer], data: st.DataObject
) -> None:
    shared, plain = both
    added = sorted(token.content for token in plain.get_added_tokens_decoder().values())
    pieces = st.one_of(
        st.sampled_from(added), st.sampled_from(["<|", "|>", " ", "\n"]), st.text(max_size=8)
    )
    text = "".join(data.draw(st.lists(pieces, max_size=12)))
    assert shared.plain.encode(text).ids == plain.encode(text).ids
