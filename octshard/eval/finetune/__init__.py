"""`octshard eval finetune`: the whole encoder trained on labels, beside a random one trained alike."""
