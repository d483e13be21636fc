"""Graders as users write them: a small valid one of each kind."""

from typing import Any

Json = dict[str, Any]


def a_check(**changed: Any) -> Json:
    """A string_check of the answer."""
    return {
        "type": "string_check",
        "name": "exact",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    } | changed


def a_comparison(**changed: Any) -> Json:
    """A text_similarity with the answer."""
    return {
        "type": "text_similarity",
        "name": "alike",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "rouge_l",
    } | changed


def a_judge(**changed: Any) -> Json:
    """A score_model from 0 to 10."""
    return {
        "type": "score_model",
        "name": "judge",
        "model": "o3-mini",
        "input": [{"role": "user", "content": "Rate {{sample.output_text}}"}],
        "range": [0, 10],
    } | changed


def a_program(**changed: Any) -> Json:
    """A python grader."""
    source = "def grade(sample, item):\n    return 1.0"
    return {"type": "python", "name": "ours", "source": source} | changed


def an_endpoint(**changed: Any) -> Json:
    """A grader behind https."""
    return {"type": "endpoint", "name": "theirs", "url": "https://grade.example/v1"} | changed


def a_multi(formula: str, **graders: Json) -> Json:
    """A multi grader of these parts."""
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


def singles() -> list[Json]:
    """One of each kind that can stand within a multi grader."""
    return [a_check(), a_comparison(), a_judge(), a_program(), an_endpoint()]
