"""Answers to questions that mean the same: an index of questions, and a guard against likeness."""
