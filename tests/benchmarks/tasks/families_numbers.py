# ruff: noqa: E501 - one task a line: these are tables
"""Families of arithmetic written later, from trivial to hard for a small model."""

from tests.benchmarks.tasks.forms import PER_FAMILY, THINGS, number, pairs, printed

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PEOPLE = ("Tom", "Ana", "Ben", "Eva", "Max", "Ida", "Leo", "Mia", "Jan", "Zoe", "Kim", "Pia")


def one_more(draw):
    return [number(f"What is one more than {n}?", n + 1) for n in draw.sample(range(1, 90), 12)]


def one_less(draw):
    return [number(f"What is one less than {n}?", n - 1) for n in draw.sample(range(2, 90), 12)]


def add_zero(draw):
    return [number(f"What is {n} plus zero?", n) for n in draw.sample(range(1, 200), 12)]


def times_one(draw):
    return [number(f"What is {n} multiplied by one?", n) for n in draw.sample(range(2, 200), 12)]


def times_ten(draw):
    return [number(f"What is {n} multiplied by 10?", 10 * n) for n in draw.sample(range(2, 60), 12)]


def times_hundred(draw):
    return [number(f"What is 100 times {n}?", 100 * n) for n in draw.sample(range(2, 40), 12)]


def times_five(draw):
    return [number(f"Multiply {n} by 5.", 5 * n) for n in draw.sample(range(2, 22), 12)]


def square(draw):
    return [number(f"What is {n} squared?", n * n) for n in draw.sample(range(2, 15), 12)]


def power_of_two(draw):
    return [number(f"What is 2 to the power of {n}?", 2**n) for n in draw.sample(range(2, 14), 12)]


def divide_by_ten(draw):
    return [number(f"Divide {10 * n} by 10.", n) for n in draw.sample(range(2, 60), 12)]


def remainder(draw):
    return [
        number(f"What is the remainder when {a + 10} is divided by {b}?", (a + 10) % b)
        for a, b in pairs(draw, 3, 9)
    ]


def add_three(draw):
    return [
        number(f"What is {a} + {b} + {c}?", a + b + c)
        for (a, b), (c, _) in zip(pairs(draw, 1, 9), pairs(draw, 1, 9), strict=True)
    ]


def add_tens(draw):
    return [number(f"Add {10 * a} and {10 * b}.", 10 * (a + b)) for a, b in pairs(draw, 1, 9)]


def add_three_digit(draw):
    return [number(f"What is {a} + {b}?", a + b) for a, b in pairs(draw, 110, 899)]


def times_three_digit(draw):
    return [number(f"What is {a} times {b}?", a * b) for a, b in pairs(draw, 110, 899)]


def add_in_words(draw):
    return [
        number(f"What is {_NAMES[a]} plus {_NAMES[b]}, in digits?", a + b)
        for a, b in pairs(draw, 1, 10)
    ]


def times_in_words(draw):
    return [
        number(f"What is {_NAMES[a]} times {_NAMES[b]}, in digits?", a * b)
        for a, b in pairs(draw, 1, 10)
    ]


def in_digits(draw):
    tens = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
    return [
        number(f"Write the number {tens[a - 2]}-{_NAMES[b]} in digits.", 10 * a + b)
        for a, b in pairs(draw, 2, 9)
    ]


def add_then_times(draw):
    return [
        number(f"What is ({a} + {b}) * {c}?", (a + b) * c)
        for (a, b), (c, _) in zip(pairs(draw, 2, 9), pairs(draw, 2, 9), strict=True)
    ]


def times_then_add(draw):
    return [
        number(f"What is {a} + {b} * {c}?", a + b * c)
        for (a, b), (c, _) in zip(pairs(draw, 2, 9), pairs(draw, 2, 9), strict=True)
    ]


def below_zero(draw):
    return [number(f"What is {a} - {a + b}?", -b) for a, b in pairs(draw, 1, 20)]


def decimals(draw):
    return [
        number(f"What is {a / 10:.1f} + {b / 10:.1f}?", round((a + b) / 10, 1))
        for a, b in pairs(draw, 1, 49)
    ]


def smaller(draw):
    return [
        number(f"Which number is smaller, {a} or {b}?", min(a, b))
        for a, b in pairs(draw, 10, 999)
        if a != b
    ]


def largest_of_three(draw):
    return [
        number(f"Which of the numbers {a}, {b} and {a + b} is the largest?", a + b)
        for a, b in pairs(draw, 2, 60)
    ]


def minutes(draw):
    return [number(f"How many minutes are {n} hours?", 60 * n) for n in range(2, 14)]


def days(draw):
    return [number(f"How many days are {n} weeks?", 7 * n) for n in range(2, 14)]


def centimetres(draw):
    return [number(f"How many centimetres are {n} metres?", 100 * n) for n in range(2, 14)]


def unknown(draw):
    return [number(f"If x + {a} = {a + b}, what is x?", b) for a, b in pairs(draw, 2, 20)]


def unknown_factor(draw):
    return [number(f"If {a} * x = {a * b}, what is x?", b) for a, b in pairs(draw, 2, 12)]


def mean_of_two(draw):
    return [
        number(f"What is the average of {a} and {a + 2 * b}?", a + b) for a, b in pairs(draw, 1, 20)
    ]


def digit_sum(draw):
    return [
        number(f"What is the sum of the digits of {10 * a + b}?", a + b)
        for a, b in pairs(draw, 1, 9)
    ]


def story_price(draw):
    return [
        number(
            f"One of the {thing} costs {a} dollars. How many dollars do {b} of them cost?", a * b
        )
        for (a, b), thing in zip(pairs(draw, 2, 9), THINGS * 2, strict=False)
    ]


def story_share(draw):
    return [
        number(f"{b} children share {a * b} {thing} equally. How many does each child get?", a)
        for (a, b), thing in zip(pairs(draw, 2, 9), THINGS * 2, strict=False)
    ]


def story_age(draw):
    return [
        number(f"{one} is {a} years old. How old will {one} be in {b} years?", a + b)
        for (a, b), one in zip(pairs(draw, 2, 20), _PEOPLE, strict=True)
    ]


def story_change(draw):
    return [
        number(f"{one} pays with {a + b} dollars for a book that costs {a} dollars. How many dollars does {one} get back?", b)
        for (a, b), one in zip(pairs(draw, 2, 15), _PEOPLE, strict=True)
    ]  # fmt: skip


def story_area(draw):
    return [
        number(f"A garden is {a} metres wide and {b} metres long. What is its area in square metres?", a * b)
        for a, b in pairs(draw, 2, 12)
    ]  # fmt: skip


def letters(_):
    words = (
        "cat", "house", "apple", "tree", "window", "sun", "garden", "book", "river", "elephant",
        "table", "computer",
    )  # fmt: skip
    return [number(f"How many letters does the word {one!r} have?", len(one)) for one in words]


def prints_sum(draw):
    return [printed(f"print({a} + {b})", a + b) for a, b in pairs(draw, 1, 9, PER_FAMILY)]


def prints_variable(draw):
    return [printed(f"x = {n}\nprint(x)", n) for n in draw.sample(range(2, 99), 12)]


def prints_call(draw):
    return [
        printed(f"def f(x):\n    return x * {a}\nprint(f({b}))", a * b)
        for a, b in pairs(draw, 2, 9)
    ]


def prints_largest(draw):
    return [printed(f"print(max({a}, {a + b}))", a + b) for a, b in pairs(draw, 2, 60)]
