"""What a row becomes for the model: the chat template, the tokenizer, the counts."""
