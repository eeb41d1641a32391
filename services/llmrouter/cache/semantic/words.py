"""Words that the guard knows, and the few ways of asking that it takes for one another."""

from __future__ import annotations

import re

__all__ = [
    "ASKING", "FRAMES", "FUNCTION_WORDS", "NEGATIONS", "NUMBERS", "QUESTIONS", "UNITS",
]  # fmt: skip


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

QUESTIONS = (
    "how|what|which|who|whom|whose|when|where|why|is|are|was|were|do|does|did|can|could|should|"
    "would|will|may|might|must|has|have|had"
)
"""Words by which questions begin: these end in a question mark that says no more."""
ASKING = frozenset(QUESTIONS.split("|")) | _words(
    "please tell give list show display name explain define describe calculate compute find write "
    "compose book translate summarize summarise convert compare suggest recommend create make "
    "generate help i in on at the a an if to my for it there turn switch set add delete remove"
)
"""Words by which texts begin; any other word with a capital there may be a name."""

_THE = "(a|an|the|my|your|his|its|our|their)"
_WH = "(what|which|who|where|why|how|whether)"
_STEPS = (
    r"(((boil|cancel|delete|disable|export|import|install|lock|remove|rename|reset|sort|undo|"
    r"uninstall|unlock) (?!(as|of|out|too|up)\b)\w|"
    r"(add|write) an? (?!(bit|deal|great|little|lot)\b)|add (two|three) )"
    r"(?!.*(:|\n|\b(always|already|below|currently|here|now|often|so|such|these|this|usually)\b)))"
)
"""What is done by steps. "How do I compare" is another question than "how to compare", and so it is
with looking, ranking, adding value or enabling somebody, and with what somebody does already."""
_REQUESTED = (
    rf"((tell|give|show|write) me|(book|convert|describe|explain|list|recommend|repair|summarize|"
    rf"write) ({_THE}|-?\d+)|explain {_WH}|translate)\b"
)
"""What "please" asks for; "please customers" is no such request."""
_ONE = (
    "((age|boiling point|capital|currency|deadline|exchange rate|height|length|melting point|name|"
    "population|price|weight) (of|for|from)|difference between|meaning of the word)"
)
"""What has one value, so that telling it is saying what it is; a story is told otherwise."""
_NUMBER = r"-?\d+([.,]\d+)*"
_SUM = (
    rf"({_NUMBER} ?(%|percent) of|{_NUMBER} (plus|minus|times|divided by)|the square root of) "
    rf"{_NUMBER}$"
)
"""What is calculated; "how much is 911" asks for a price."""
_BE = "(is|are|was|were)"
_SUBJECT = rf"(?!{_BE}\b)({_THE} (\d{{4}} )?)?\w+"
"""Of what is told: a longer one may hold a verb, as "the eggs boiled" does."""
_NAME = r"(?-i:[A-Z]\w+ [A-Z]\w+)"
_NAMED = (
    rf"(it|he|she|{_THE} \w+|{_THE} ((first|last|current) )?\w+ of ({_THE} )?({_NAME}|\w+)|"
    rf"{_NUMBER} percent of {_NUMBER})"
)
_TOLD = (
    rf"(tell me (what|who|where) {_NAMED} {_BE}|(tell me|explain) how ({_SUBJECT} works|"
    rf"to {_STEPS}.*))"
)
"""What whoever answers surely can; "could you tell me which wine it is blindfolded" asks that."""
_LENGTH = "( in (metres|meters|feet|inches))"
_TALL = rf"(?P<who>{_SUBJECT}|(the )?{_NAME})"
_SIZE = "(big|heavy|old|tall)"
"""Unlike "deep", as in "how deep is it buried", these go with no other verb."""


def _patterns(*pairs: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern, re.IGNORECASE), said) for pattern, said in pairs)


FRAMES = _patterns(
    (r"^what['\u2019]s (?=(the|my)\b)", "what is "),
    (r"^who['\u2019]s (?=the \w+ of\b)", "who is "),
    (rf"^((can|could|would|will) you )?please,? (?={_REQUESTED})", ""),
    (rf"^(can|could) you (?={_TOLD}$)", ""),
    (rf"^tell me (?={_WH}\b)", ""),
    (rf"^explain (?=(why|how)\b(?! (many|much|far|long|often|{_SIZE})\b))", ""),
    (rf"^tell me (?=the {_ONE} )", "what is "),
    (r"^tell me (?=the (causes|symptoms) of )", "what are "),
    (rf"^(how ((do|can) i|to)|what (are the steps|is the way) to) (?={_STEPS})", "how to "),
    (rf"^how does ({_SUBJECT}) work$", r"how \1 works"),
    (rf"^(calculate|how much is) (?={_SUM})", "what is "),
    (r"^what does the word (\S+) mean$", r"what is the meaning of the word \1"),
    (r"^define (?=the word \S+$)", "what is the meaning of "),
    (rf"^(?P<ask>why|where|when) (?P<who>{_SUBJECT}) (?P<is>{_BE})\b", r"\g<ask> \g<is> \g<who>"),
    (rf"^whether (?P<who>{_SUBJECT}) (?P<is>{_BE})\b(?! not\b)", r"\g<is> \g<who>"),
    (rf"^(?P<ask>what|who) (?P<who>{_NAMED}) (?P<is>{_BE})$", r"\g<ask> \g<is> \g<who>"),
    (
        rf"^(?P<ask>how {_SIZE}) {_TALL} (?P<is>{_BE})(?P<unit>{_LENGTH})?$",
        r"\g<ask> \g<is> \g<who>\g<unit>",
    ),
)
"""Ways of asking, each with the one it is taken for; the case does not matter. One is here only if
no two questions are known that differ and that it makes one."""
