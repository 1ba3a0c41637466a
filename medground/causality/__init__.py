"""What causes an answer: edits judged by the three-step filter, and masks that take part of the film away."""
