"""CAPTION producer/question_files."""
