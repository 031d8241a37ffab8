"""The commands `answermill model …` and their output."""
