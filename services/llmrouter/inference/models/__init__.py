"""Model folders, their text side (tokenizer, chat template) and the store that keeps them."""
