"""Which of several answers is given."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.gateway.voting import Ballot, by_confidence, by_judge, by_vote, judging_prompt


def ballot(text, sure=0.5, cost=0.0, model="m"):
    return Ballot(model, text, (math.log(sure),), cost)


ballots = st.lists(
    st.builds(ballot, st.sampled_from(["yes", "Yes.", "no", "maybe"]), st.floats(0.01, 1)),
    min_size=1,
    max_size=16,
)


def test_the_answer_that_most_give_wins_whatever_its_case_and_marks():
    election = by_vote([ballot("Paris."), ballot("Rome", 0.99), ballot(" **paris** ")])

    assert election.winner in {0, 2}
    assert election.reason == "2 of 3 answers agree"


def test_the_surest_answer_speaks_for_its_group_and_breaks_ties():
    assert by_vote([ballot("a", 0.2), ballot("A", 0.8)]).winner == 1
    assert by_vote([ballot("a", 0.2), ballot("b", 0.8)]).winner == 1
    assert by_vote([ballot("a"), ballot("b")]).winner == 0


def test_a_minus_sign_and_a_point_inside_make_another_answer():
    assert by_vote([ballot("-4"), ballot("4", 0.1), ballot("4", 0.1)]).winner == 1
    assert by_vote([ballot("1.5", 0.9), ballot("15"), ballot("15")]).winner == 1


@given(ballots)
def test_nobody_has_more_votes_than_the_winner(given):
    def votes(one):
        return sum(by_vote([one, other]).reason == "2 of 2 answers agree" for other in given)

    assert votes(given[by_vote(given).winner]) == max(map(votes, given))


@given(ballots)
def test_nobody_is_surer_than_the_winner_by_confidence(given):
    winner = given[by_confidence(given).winner]

    assert winner.logprobs == max(one.logprobs for one in given)


def test_answers_without_log_probabilities_are_the_least_sure():
    assert by_confidence([Ballot("m", "a"), ballot("b", 0.01)]).winner == 1


def test_the_cost_is_that_of_all_answers():
    assert by_vote([ballot("a", cost=0.5), ballot("b", cost=0.25)]).cost == 0.75


def test_the_judge_sees_question_and_answers_but_no_names():
    asked = judging_prompt("Why?", [ballot("one", model="secret"), ballot("two")])

    assert "Why?" in asked
    assert "Answer 2:\ntwo" in asked
    assert "secret" not in asked


@pytest.mark.parametrize(("verdict", "winner"), [("2", 1), ("Answer 2.", 1), ("1", 0)])
def test_the_judge_names_the_winner(verdict, winner):
    assert by_judge([ballot("a"), ballot("b")], verdict).winner == winner


@pytest.mark.parametrize("verdict", ["", "none", "0", "3", "9" * 10_000])
def test_a_judge_who_names_none_leaves_it_to_the_vote(verdict):
    election = by_judge([ballot("a"), ballot("b"), ballot("b")][1:], verdict)

    assert election.winner == 0
    assert election.reason.startswith("the judge named no answer; 2 of 2")


@pytest.mark.parametrize("count", [0, 17])
def test_too_few_or_too_many_answers_are_refused(count):
    for elect in (by_vote, by_confidence, lambda one: by_judge(one, "1")):
        with pytest.raises(ValueError, match=f"^{count} answers"):
            elect([ballot("a")] * count)
