# ruff: noqa: E501 - one task a line: these are tables
"""The families written first, arithmetic and Python; each is a function that returns its tasks."""

from tests.benchmarks.tasks.forms import PER_FAMILY, THINGS, code, number, pairs, printed


def add_small(draw):
    return [number(f"What is {a} + {b}?", a + b) for a, b in pairs(draw, 1, 9)]


def add_two_digit(draw):
    return [number(f"What is {a} + {b}?", a + b) for a, b in pairs(draw, 11, 99)]


def subtract_small(draw):
    return [
        number(f"What is {max(a, b)} - {min(a, b)}?", abs(a - b)) for a, b in pairs(draw, 1, 10)
    ]


def subtract_two_digit(draw):
    return [
        number(f"What is {max(a, b)} - {min(a, b)}?", abs(a - b)) for a, b in pairs(draw, 11, 99)
    ]


def times_small(draw):
    return [number(f"What is {a} times {b}?", a * b) for a, b in pairs(draw, 2, 9)]


def times_two_digit(draw):
    return [number(f"What is {a} times {b}?", a * b) for a, b in pairs(draw, 11, 39)]


def divide(draw):
    return [number(f"What is {a * b} divided by {b}?", a) for a, b in pairs(draw, 2, 12)]


def double_half(draw):
    found = [number(f"What is double {n}?", 2 * n) for n in draw.sample(range(2, 40), 6)]
    return found + [number(f"What is half of {2 * n}?", n) for n in draw.sample(range(2, 40), 6)]


def percent(draw):
    found = []
    for share, base in zip(
        (10, 50, 25, 20) * 3, draw.sample(range(2, 30), PER_FAMILY), strict=True
    ):
        found.append(number(f"What is {share}% of {20 * base}?", share * base // 5))
    return found


def larger(draw):
    return [
        number(f"Which number is larger, {a} or {b}?", max(a, b))
        for a, b in pairs(draw, 10, 999)
        if a != b
    ]


def next_number(draw):
    found = []
    for step in (1, 2, 3, 4, 5, 10, -1, -2, 7, 6, 100, 11):
        first = draw.randint(1, 9) + (20 if step < 0 else 0)
        shown = ", ".join(str(first + step * place) for place in range(4))
        found.append(number(f"What number comes next: {shown}, ...?", first + 4 * step))
    return found


def story_add(draw):
    return [
        number(f"A box holds {a} {thing}. We put {b} more into it. How many {thing} are in the box now?", a + b)
        for (a, b), thing in zip(pairs(draw, 2, 20), THINGS * 2, strict=False)
    ]  # fmt: skip


def story_subtract(draw):
    return [
        number(f"There are {a + b} {thing} on a table. Someone takes {b} of them away. How many {thing} are left?", a)
        for (a, b), thing in zip(pairs(draw, 2, 15), THINGS * 2, strict=False)
    ]  # fmt: skip


def story_times(draw):
    return [
        number(f"Each of {a} boxes holds {b} {thing}. How many {thing} are there in all?", a * b)
        for (a, b), thing in zip(pairs(draw, 2, 9), THINGS * 2, strict=False)
    ]


def story_two_steps(draw):
    return [
        number(f"A shop has {a} bags with {b} {thing} each. It sells {a} {thing}. How many {thing} remain?", a * b - a)
        for (a, b), thing in zip(pairs(draw, 3, 9), THINGS * 2, strict=False)
    ]  # fmt: skip


def code_arithmetic(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("add(a, b)", "the sum of a and b"), "add", (2, 3, 5), (-1, 1, 0)),
        code(ask.format("subtract(a, b)", "a minus b"), "subtract", (5, 3, 2), (1, 4, -3)),
        code(ask.format("multiply(a, b)", "the product of a and b"), "multiply", (2, 3, 6), (0, 9, 0)),
        code(ask.format("divide(a, b)", "a divided by b"), "divide", (6, 3, 2), (1, 4, 0.25)),
        code(ask.format("square(x)", "the square of x"), "square", (3, 9), (-4, 16)),
        code(ask.format("cube(x)", "x to the power of three"), "cube", (3, 27), (-2, -8)),
        code(ask.format("double(x)", "two times x"), "double", (3, 6), (-4, -8)),
        code(ask.format("negate(x)", "x with the opposite sign"), "negate", (3, -3), (-4, 4)),
        code(ask.format("increment(x)", "x plus one"), "increment", (3, 4), (-1, 0)),
        code(ask.format("remainder(a, b)", "the remainder of a divided by b"), "remainder", (7, 3, 1), (8, 4, 0)),
        code(ask.format("average(a, b)", "the average of a and b"), "average", (2, 4, 3), (1, 2, 1.5)),
        code(ask.format("power(a, b)", "a to the power of b"), "power", (2, 5, 32), (9, 0, 1)),
    ]  # fmt: skip


def code_formula(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("area(width, height)", "the area of a rectangle"), "area", (2, 3, 6), (1, 1, 1)),
        code(ask.format("perimeter(width, height)", "the perimeter of a rectangle"), "perimeter", (2, 3, 10), (1, 1, 4)),
        code(ask.format("to_fahrenheit(c)", "the temperature c in degrees Fahrenheit"), "to_fahrenheit", (0, 32), (100, 212)),
        code(ask.format("to_minutes(hours)", "how many minutes that many hours have"), "to_minutes", (2, 120), (0, 0)),
        code(ask.format("triple(x)", "three times x"), "triple", (3, 9), (-1, -3)),
        code(ask.format("difference(a, b)", "the absolute difference of a and b"), "difference", (2, 5, 3), (5, 2, 3)),
        code(ask.format("add_three(a, b, c)", "the sum of a, b and c"), "add_three", (1, 2, 3, 6), (0, 0, 1, 1)),
        code(ask.format("half(x)", "x divided by two"), "half", (4, 2), (3, 1.5)),
        code(ask.format("volume(a, b, c)", "the volume of a box with these edges"), "volume", (1, 2, 3, 6), (2, 2, 2, 8)),
        code(ask.format("seconds(h, m, s)", "h hours, m minutes and s seconds in seconds"), "seconds", (1, 1, 1, 3661), (0, 2, 5, 125)),
        code(ask.format("decrement(x)", "x minus one"), "decrement", (3, 2), (0, -1)),
        code(ask.format("hypotenuse(a, b)", "the hypotenuse of a right triangle with legs a and b"), "hypotenuse", (3, 4, 5), (6, 8, 10)),
    ]  # fmt: skip


def code_text(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("shout(text)", "the text in upper case"), "shout", ("ab", "AB"), ("x1", "X1")),
        code(ask.format("length(text)", "the number of characters in text"), "length", ("abc", 3), ("", 0)),
        code(ask.format("reverse(text)", "the text backwards"), "reverse", ("abc", "cba"), ("", "")),
        code(ask.format("first(text)", "the first character of text"), "first", ("abc", "a"), ("z", "z")),
        code(ask.format("last(text)", "the last character of text"), "last", ("abc", "c"), ("z", "z")),
        code(ask.format("join(a, b)", "the strings a and b with a space between"), "join", ("a", "b", "a b")),
        code(ask.format("greet(name)", "the string \"Hello, \" followed by name"), "greet", ("you", "Hello, you")),
        code(ask.format("vowels(text)", "how many of the letters a, e, i, o and u text has"), "vowels", ("banana", 3), ("xyz", 0)),
        code(ask.format("words(text)", "the list of words in text"), "words", ("a b c", ["a", "b", "c"])),
        code(ask.format("strip(text)", "text without spaces at both ends"), "strip", (" a ", "a"), ("b", "b")),
        code(ask.format("repeat(text, n)", "text n times in a row"), "repeat", ("ab", 2, "abab"), ("a", 0, "")),
        code(ask.format("initials(text)", "the first letters of the words in text as one string"), "initials", ("big red dog", "brd")),
    ]  # fmt: skip


def code_list(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("total(numbers)", "the sum of a list of numbers"), "total", ([1, 2, 3], 6), ([], 0)),
        code(ask.format("largest(numbers)", "the largest number of a list"), "largest", ([1, 5, 3], 5), ([-2, -1], -1)),
        code(ask.format("smallest(numbers)", "the smallest number of a list"), "smallest", ([4, 2, 3], 2), ([-2, -1], -2)),
        code(ask.format("count(items)", "how many items a list has"), "count", ([1, 2], 2), ([], 0)),
        code(ask.format("ordered(items)", "a sorted copy of a list"), "ordered", ([3, 1, 2], [1, 2, 3])),
        code(ask.format("backwards(items)", "a list in reverse order"), "backwards", ([1, 2, 3], [3, 2, 1])),
        code(ask.format("mean(numbers)", "the mean of a list of numbers"), "mean", ([1, 2, 3], 2), ([1, 2], 1.5)),
        code(ask.format("doubled(numbers)", "a list with each number doubled"), "doubled", ([1, 2], [2, 4]), ([], [])),
        code(ask.format("evens(numbers)", "only the even numbers of a list"), "evens", ([1, 2, 4], [2, 4]), ([1], [])),
        code(ask.format("unique(items)", "a sorted list of the distinct items"), "unique", ([2, 1, 2], [1, 2])),
        code(ask.format("spread(numbers)", "the largest minus the smallest number"), "spread", ([1, 5, 3], 4), ([2], 0)),
        code(ask.format("running(numbers)", "the list of running totals"), "running", ([1, 2, 3], [1, 3, 6]), ([], [])),
    ]  # fmt: skip


def code_predicate(_):
    ask = "Write a Python function `{}` that returns True if {} and False otherwise."
    return [
        code(ask.format("is_even(n)", "n is even"), "is_even", (2, True), (3, False)),
        code(ask.format("is_odd(n)", "n is odd"), "is_odd", (2, False), (3, True)),
        code(ask.format("is_positive(n)", "n is greater than zero"), "is_positive", (1, True), (0, False)),
        code(ask.format("is_empty(items)", "the list has no items"), "is_empty", ([], True), ([1], False)),
        code(ask.format("contains(items, x)", "x is in the list"), "contains", ([1, 2], 2, True), ([], 1, False)),
        code(ask.format("equal(a, b)", "a equals b"), "equal", (1, 1, True), (1, 2, False)),
        code(ask.format("is_palindrome(text)", "text reads the same backwards"), "is_palindrome", ("abba", True), ("ab", False)),
        code(ask.format("is_prime(n)", "n is a prime number"), "is_prime", (7, True), (9, False), (1, False)),
        code(ask.format("is_leap(year)", "the year is a leap year"), "is_leap", (2000, True), (1900, False), (2024, True)),
        code(ask.format("divides(a, b)", "b is divisible by a"), "divides", (3, 9, True), (3, 10, False)),
        code(ask.format("is_sorted(items)", "the list is in ascending order"), "is_sorted", ([1, 2], True), ([2, 1], False)),
        code(ask.format("any_negative(numbers)", "a number of the list is negative"), "any_negative", ([1, -1], True), ([1], False)),
    ]  # fmt: skip


def code_loop(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("factorial(n)", "the factorial of n"), "factorial", (5, 120), (0, 1)),
        code(ask.format("sum_to(n)", "the sum of the numbers from 1 to n"), "sum_to", (4, 10), (1, 1)),
        code(ask.format("countdown(n)", "the list of numbers from n down to 1"), "countdown", (3, [3, 2, 1])),
        code(ask.format("squares(n)", "the list of the squares of 1 to n"), "squares", (3, [1, 4, 9])),
        code(ask.format("fibonacci(n)", "the n-th Fibonacci number, where fibonacci(0) is 0"), "fibonacci", (0, 0), (7, 13)),
        code(ask.format("divisors(n)", "the sorted list of divisors of n"), "divisors", (6, [1, 2, 3, 6])),
        code(ask.format("digits(n)", "the sum of the decimal digits of n"), "digits", (123, 6), (9, 9)),
        code(ask.format("product(numbers)", "the product of a list of numbers"), "product", ([2, 3, 4], 24), ([5], 5)),
        code(ask.format("position(items, x)", "the index of the first x in a list, or -1"), "position", ([4, 5], 5, 1), ([], 1, -1)),
        code(ask.format("gcd(a, b)", "the greatest common divisor of a and b"), "gcd", (12, 18, 6), (5, 3, 1)),
        code(ask.format("collatz(n)", "how many Collatz steps lead from n to 1"), "collatz", (1, 0), (6, 8)),
        code(ask.format("range_list(n)", "the list of numbers from 0 to n - 1"), "range_list", (3, [0, 1, 2]), (0, [])),
    ]  # fmt: skip


def code_number(_):
    ask = "Write a Python function `{}` that returns {}."
    return [
        code(ask.format("maximum(a, b)", "the larger of a and b"), "maximum", (1, 2, 2), (3, -1, 3)),
        code(ask.format("minimum(a, b)", "the smaller of a and b"), "minimum", (1, 2, 1), (3, -1, -1)),
        code(ask.format("absolute(x)", "the absolute value of x"), "absolute", (-3, 3), (4, 4)),
        code(ask.format("sign(x)", "1 for positive x, -1 for negative x and 0 for zero"), "sign", (5, 1), (-5, -1), (0, 0)),
        code(ask.format("clamp(x, low, high)", "x held between low and high"), "clamp", (5, 0, 3, 3), (-1, 0, 3, 0), (2, 0, 3, 2)),
        code(ask.format("last_digit(n)", "the last decimal digit of n"), "last_digit", (123, 3), (40, 0)),
        code(ask.format("to_binary(n)", "n in binary as a string without prefix"), "to_binary", (5, "101"), (8, "1000")),
        code(ask.format("round_up(x)", "the smallest integer not below x"), "round_up", (1.2, 2), (3, 3)),
        code(ask.format("count_digits(n)", "how many decimal digits n has"), "count_digits", (123, 3), (7, 1)),
        code(ask.format("middle(a, b, c)", "the middle one of three numbers"), "middle", (1, 3, 2, 2), (9, 5, 1, 5)),
        code(ask.format("to_text(n)", "n as a string"), "to_text", (5, "5"), (10, "10")),
        code(ask.format("swap(a, b)", "the tuple of b and a"), "swap", (1, 2, [2, 1])),
    ]  # fmt: skip


def code_prints(draw):
    found = [printed(f"x = {a}\ny = {b}\nprint(x + y)", a + b) for a, b in pairs(draw, 1, 9, 4)]
    found += [printed(f"print({a} * {b})", a * b) for a, b in pairs(draw, 2, 9, 4)]
    return found + [
        printed(f"x = {a}\nfor i in range({b}):\n    x = x + 2\nprint(x)", a + 2 * b)
        for a, b in pairs(draw, 2, 6, 4)
    ]


def code_value(draw):
    found = [printed(f"n = {a}\nn = n - {b}\nprint(n)", a - b) for a, b in pairs(draw, 1, 9, 4)]
    found += [printed(f"print(len('{'ab' * a}'))", 2 * a) for a in range(1, 5)]
    return found + [
        printed(f"items = {[a, b, a + b]}\nprint(items[1])", b) for a, b in pairs(draw, 2, 9, 4)
    ]


SPLIT = {
    "train": {
        "add-small": add_small,
        "subtract-two-digit": subtract_two_digit,
        "times-small": times_small,
        "divide": divide,
        "story-add": story_add,
        "story-two-steps": story_two_steps,
        "larger": larger,
        "percent": percent,
        "code-formula": code_formula,
        "code-list": code_list,
        "code-loop": code_loop,
        "code-prints": code_prints,
    },
    "test": {
        "add-two-digit": add_two_digit,
        "subtract-small": subtract_small,
        "times-two-digit": times_two_digit,
        "double-half": double_half,
        "story-subtract": story_subtract,
        "story-times": story_times,
        "next-number": next_number,
        "code-arithmetic": code_arithmetic,
        "code-text": code_text,
        "code-predicate": code_predicate,
        "code-number": code_number,
        "code-value": code_value,
    },
}
