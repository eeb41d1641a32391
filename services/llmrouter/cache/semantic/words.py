"""Words that the guard knows: those that ask rather than say, and those that say the same."""

from __future__ import annotations

import re

__all__ = ["FRAMES", "FUNCTION_WORDS", "NEGATIONS", "NUMBERS", "SAME", "UNITS"]


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
"""Words of a language that carry no subject. They tell languages apart, too."""

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
        "begin start commence",
        "delete remove erase",
        "merge combine join",
        "buy purchase",
        "fix repair mend",
        "big large",
        "fast quick rapid",
        "near nearest closest close",
        "write compose",
        "cost price charge",
        "like enjoy",
        "way method approach",
        "summarize summarise",
        "car automobile",
        "photo photograph picture",
        "metre meter",
        "kilometre kilometer",
        "litre liter",
        "colour color",
        "usa us america",
        "error fault",
        "folder directory",
        "movie film",
        "phone telephone",
    )
    for word in group.split()
}
"""Words to the one that stands for all that say the same."""

FRAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"n['\u2019]t\b", " not"),
        (r"\bcannot\b", "can not"),
        (r"\b(what|who|where|how|when)['\u2019]s\b", r"\1 is"),
        (r"['\u2019]s\b", " "),
        (r"^in ([\w+#]+), (.*?)\W*$", r"\2 in \1"),
        (r"\bunited states( of america)?\b", "usa"),
        (r"^(please )?((can|could|would|will) you )?(please )?", ""),
        (r"^i('d| would) like (you )?to ", ""),
        (r"^i (want|need) (you )?to ", ""),
        (r"^i( would like| want| need) ", "write "),
        (r"^(please )?tell me (?=what|which|who|when|where|why|whether|how)", ""),
        (r"^(please )?(tell|give) me (?=the )", "what is "),
        (r"^explain (?=what|why|how)", ""),
        (r"^(what are the steps|what is the (way|method|command)) (to|for) ", "how "),
        (r"\bhow (do|can|could|should|would|to|does) ?(i|we|you|one)?\b", "how"),
        (r"^what is the reason( why| that)? ?", "why "),
        (r"\b((at )?what time|in (which|what) year)\b", "when"),
        (r"^(please )?(list|show|display)( me)? ", "show "),
        (r"^i want to see ", "show "),
        (r"^see ", "show "),
        (r"\b(switch|turn) on\b", "enable"),
        (r"\b(switch|turn) off\b", "disable"),
        (r"^(who is the author of|which author wrote) ", "who wrote "),
        (r"^(name) (?=the )", "what is "),
        (r"^(calculate|compute|how much is) (?=the |\d)", "what is "),
        (r"\bwhat is the number of\b", "how many"),
        (r"^is it (true|possible) (that|to) ", ""),
        (r"^whether ", ""),
        (r"^define ", "meaning of "),
        (r"\bwhat does (.+?) mean\W*$", r"meaning of \1"),
        (r"^what is the meaning of ", "meaning of "),
        (r"^what is the difference between ", "difference between "),
        (r"^how (is|do) (.+?) differ\W*$", r"difference between \2"),
        (r"^(what is the cost of|how much is|how much do you charge for) (?=\w+ing\b)", "cost "),
        (r"^how much (does|do) (.+?) cost\W*$", r"cost \2"),
        (r"^what (does|do) (.+?) cost\W*$", r"cost \2"),
    )
)
"""Ways of asking, in lower case, each with the plainest way of asking the same."""
