"""Questions are cleaned as the settings say, and every act is counted."""

from collections import Counter

import pytest
from tests.unit.gateway.safety.samples import policy

from llmrouter.common.errors import Reason, RouterError


def test_control_characters_are_cut_out_unless_the_settings_say_otherwise():
    text, acts = "a\x00b\tc\r\nd\x1be\x7f", Counter()
    assert policy().cleaned("prompt", text, acts) == "ab\tc\r\nde"
    assert acts == {("control characters", "cleaned", "strip"): 1}
    assert policy(control_characters="keep").cleaned("prompt", text, Counter()) == text
    with pytest.raises(RouterError, match="prompt has control characters") as refused:
        policy(control_characters="block").cleaned("prompt", text, Counter())
    assert refused.value.reason is Reason.CONTENT_BLOCKED


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a<!-- hidden -->b", "a b"),
        ("a<script src='x'>evil()</ScRiPt >b", "a b"),
        ("go JavaScript:alert(1)", "go  alert(1)"),
        ("javajavascript:script:x", "java script:x"),
        ("<scr<!-- -->ipt>x</script>", "<scr ipt>x</script>"),
        ("a <!-- never closed", "a <!-- never closed"),
        ("<scripture> is no script", "<scripture> is no script"),
    ],
)
def test_markup_that_runs_is_cut_out_where_it_is_asked_for(text, left):
    assert policy(strip_markup=True).cleaned("prompt", text, Counter()) == left
    assert policy().cleaned("prompt", text, Counter()) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("What does DROP TABLE do?", "destructive SQL"),
        ("1 UNION  SELECT password", "SQL injection"),
        ("run os.system ('ls')", "code execution"),
    ],
)
def test_what_looks_like_an_attack_is_flagged_passed_on_or_blocked(text, rule):
    acts = Counter()
    assert policy().cleaned("prompt", text, acts) == text
    assert acts == {(rule, "suspicious", "flag"): 1}
    quiet = Counter()
    policy(suspicious="off").cleaned("prompt", text, quiet)
    assert not quiet
    with pytest.raises(RouterError, match=rule):
        policy(suspicious="block").cleaned("prompt", text, Counter())
