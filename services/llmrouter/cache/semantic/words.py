"""Words that the guard knows: those that ask rather than say, and those that say the same."""

from __future__ import annotations

import re

__all__ = ["AMOUNTS", "ASKING", "ASKS", "BE", "DETERMINERS", "EITHER", "FRAMES", "FUNCTION_WORDS",
           "NEGATIONS", "NUMBERS", "PHRASES", "PLAIN", "QUESTIONS", "SAME", "UNITS"]  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: _words(words)
    for language, words in {
        "en": "a an the is are be am do does of to in into on at for by with and it its this that "
        "these those there i you we my your me our us have has will would can could may should "
        "what which any please also just so",
        "de": "der die das ein eine einer einem einen den dem des und ist sind wie was wer wo wann "
        "ich du wir sie es mein meine dein bitte auf für mit von zu zum zur im am bei kann können "
        "wird werden habe hat man",
        "fr": "le la les un une des du de et est sont comment que quel quelle quels quelles qui où "
        "je tu nous vous il elle mon ma mes votre pour avec dans sur au aux ce cette ces puis "
        "peut peux on en",
        "es": "el la los las un una unos unas de del y es son cómo que qué cuál cuáles quién dónde "
        "yo tú nosotros usted mi mis tu su para con en por al se puedo puede este esta estos",
        "it": "il lo la i gli le un una di del della e è sono come che quale quali chi dove io tu "
        "noi mio mia per con in su al alla si posso può questo questa nel nella",
        "pt": "o a os as um uma de do da dos das e é são como que qual quais quem onde eu tu nós "
        "você meu minha para com em no na por ao se posso pode este esta isso",
        "nl": "de het een van en is zijn hoe wat wie waar wanneer ik jij wij u mijn jouw voor met "
        "in op aan bij te kan kunnen wordt dit dat deze die er",
    }.items()
}
"""The commonest words of a language; they tell languages apart."""

NEGATIONS = _words(
    "not no never none neither nor without nobody nothing nowhere except exclude excluding free "
    "un non nicht kein keine keinen nie ohne pas sans jamais aucun aucune nunca sin ningún ninguna "
    "non mai senza não nunca sem niet geen nooit zonder"
)

NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million billion half quarter dozen double triple once twice first second "
    "third fourth fifth sixth seventh eighth ninth tenth last ii iii iv vi vii viii ix"
)

UNITS = _words(
    "pm metre meter kilometre kilometer km cm mm mile foot feet inch yard gram kilogram kg mg "
    "ounce pound ton litre liter ml gallon cup celsius fahrenheit kelvin degree second minute hour "
    "day week month year century percent byte kb mb gb tb euro dollar yen usd eur gbp "
    "chf watt volt ampere joule calorie hertz pascal bar mph kph"
)

SAME: dict[str, str] = {
    word: group.split()[0]
    for group in (
        "buy purchase",
        "nearest closest",
        "summarize summarise",
        "car automobile",
        "photo photograph",
        "kilometre kilometer",
        "kilometres kilometers",
        "litre liter",
        "litres liters",
        "USA US",
    )
    for word in group.split()
}
"""Words to the one that stands for all that say the same, in every sense and in every term they are
part of: data may be big and not large, a price is fixed and not repaired, a meter measures, a
stylesheet knows color alone."""

QUESTIONS = (
    "how|what|which|who|whom|whose|when|where|why|is|are|was|were|do|does|did|can|could|should|"
    "would|will|may|might|must|has|have|had"
)
"""Words by which questions begin: these end in a question mark that says no more."""
BE = _words("is are was were")
"""Verbs that stand elsewhere in a question than in what is told."""
ASKS = _words("what who where when why how which whose")
PLAIN = _words("why where when who whether")
"""Of the words that ask, those that take nothing with them as "how" does in "how old"."""
AMOUNTS = _words("many much")
DETERMINERS = _words(
    "the a an my your his her its our their this that these those it he she they we you i I"
)
"""Words by which that begins which is spoken of."""
EITHER = "is/are"
"""Stands for "is" as well as for "are"."""

_REQUESTS = (
    r"((tell|give|show|write|find|help|book|make|compose|list) me|explain|define|describe|"
    r"summari[sz]e)\b"
)
"""What is asked of whoever answers; "can you drive a car", or "would you help a stranger", is no
request to do it."""
_SOMEONE = r"(?!(me|him|her|us|them|you|your|my|our|his|their|the|an?|every\w*)\b)"
"""Not who is to be pleased."""
_WISH = rf"(please {_SOMEONE}|(?={_REQUESTS}))"
_TEXTS = "(haiku|limerick|sonnet|poem|essay|function|script|query|regex)"
ASKING = _words(
    "how what which who whom whose when where why is are was were do does did can could should "
    "would will may might must has have had please tell give list show display name explain define "
    "describe calculate compute find write compose book translate summarize summarise convert "
    "compare suggest recommend create make generate help i in on at the a an if to my for it there "
    "turn switch set add delete remove"
)
"""Words by which texts begin; any other word with a capital there may be a name."""


def _patterns(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern, re.IGNORECASE), said) for pattern, said in pairs)


PHRASES = _patterns(
    (r"n['\u2019]t\b", " not"),
    (r"\bcannot\b", "can not"),
    (r"\b(what|who|where|how|when)['\u2019]s\b", r"\1 is"),
    (r"\bthe united states( of america)?\b", "the USA"),
    (r"\bhow ((do|can) i|to) (?!(look|feel|sound|smell|taste|seem|know)\b)", "how "),
    (r"\b(switch|turn) on\b", "enable"),
    (r"\b(switch|turn) off\b", "disable"),
    (
        r"\bwhat is the number of (\w+s|people|men|women|children) (?=(in|on|at)\b)",
        r"how many \1 are ",
    ),
    (r", (?=(and|or)\b)", " "),
)
"""Expressions anywhere in a text, each with the plainest that says the same."""

FRAMES = _patterns(
    (r"^in ([\w+#]+), (.*)$", r"\2 in \1"),
    (r"^(can|could|would|will) you (.+),? please!*$", r"\2"),
    (r"(, please|(?<!\bto)(?<!\bsay)(?<!\bword)(?<!\bmean)(?<!\bof) please)!*$", ""),
    (rf"^(please,? {_SOMEONE})?((can|could|would|will) you {_WISH})?", ""),
    (rf"^i(('d| would) like| want| need) you to (?={_REQUESTS})", ""),
    (r"^i(('d| would) like|( want| need)) to know (?=what|which|who|where|why|whether|how)", ""),
    (rf"^i( would like| want| need) (?=an? (\w+ )?{_TEXTS}\b)", "write "),
    (r"^(book|compose|write) me (?=an? )", r"\1 "),
    (r"^tell me (?=what|which|who|where|why|whether|how)", ""),
    (
        r"^((tell|give) me|name) (?=the .+ (of|for|in|between|from|to|that|who)\b)",
        f"what {EITHER} ",
    ),
    (r"^explain (?=what|why|how)", ""),
    (r"^(what are the steps|what is the (way|method|command)) to ", "how "),
    (r"^what is the reason( why| that)? ", "why "),
    (r"^(who is the author of|which author wrote) ", "who wrote "),
    (r"^which (?=(\w+) ((is|was)\b|(are|were) (in|on|at)\b))", "what "),
    (r"^(calculate|compute) (?=.*\d)", "what is "),
    (r"^how much is (?=\d)", "what is "),
    (r"^is it true that ", "whether "),
    (r"^what does (.+) mean$", r"meaning of \1"),
    (rf"^what (is|{EITHER}) the meaning of ", "meaning of "),
    (r"^define (?=the (word|term) )", "meaning of "),
    (rf"^what (is|{EITHER}) the difference between ", "difference between "),
    (r"^how do (.+ and .+) differ$", r"difference between \1"),
    (r"^what is the cost of ", "cost "),
    (r"^how much (does|do) (.+) cost$", r"cost \2"),
    (r"^what (does|do) (.+) cost$", r"cost \2"),
)
"""Ways of asking, each with the plainest way of asking the same; the case does not matter."""
