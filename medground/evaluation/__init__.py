"""The board of models: what a model answers to all questions and their edits, and how often for the right reason."""
