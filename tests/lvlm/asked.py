"""The question and the film's size of these tests."""

from medground.lvlm import prompts

QUESTION = prompts.prompt(prompts.question("pneumothorax"), "direct")
SIZE = (352, 416)  # width, height
