"""The verified benchmark as a folder for the Hugging Face Hub: what may leave, the shards, the card, publishing."""
