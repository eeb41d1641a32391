# ruff: noqa: E501 - one task a line: these are tables
"""Families of Python functions written later, from one expression to a small algorithm."""

from tests.benchmarks.tasks.forms import WRITE, code

_COMPLETE = "Complete this Python function:\n```python\ndef {}:\n    # returns {}\n```\n"
_FIX = "This Python function is to return {}, but has a mistake. Write it correctly.\n```python\n{}\n```\n"
_TRANSLATE = (
    "Write this JavaScript function in Python, under the same name.\n```javascript\n{}\n```\n"
)


def returns_constant(_):
    told = (
        ("answer()", "the number 42", 42), ("zero()", "the number 0", 0),
        ("hello()", "the string 'hello'", "hello"), ("yes()", "True", True), ("no()", "False", False),
        ("nothing()", "None", None), ("empty()", "an empty list", []), ("ten()", "the number 10", 10),
        ("blank()", "an empty string", ""), ("letter()", "the string 'a'", "a"),
        ("ones()", "the list [1, 1]", [1, 1]), ("half()", "the number 0.5", 0.5),
    )  # fmt: skip
    return [
        code(WRITE.format(head, what), head.removesuffix("()"), (value,))
        for head, what, value in told
    ]


def one_operation(_):
    ask = WRITE
    return [
        code(ask.format("plus_two(x)", "x plus two"), "plus_two", (3, 5), (-1, 1)),
        code(ask.format("minus_one(x)", "x minus one"), "minus_one", (3, 2), (0, -1)),
        code(ask.format("times_ten(x)", "x times ten"), "times_ten", (3, 30), (0, 0)),
        code(ask.format("add_ten(x)", "x plus 10"), "add_ten", (3, 13), (-4, 6)),
        code(ask.format("quarter(x)", "x divided by four"), "quarter", (8, 2), (1, 0.25)),
        code(ask.format("sum_two(x, y)", "x + y"), "sum_two", (3, 4, 7), (0, -1, -1)),
        code(ask.format("product_two(x, y)", "x * y"), "product_two", (3, 4, 12), (0, 5, 0)),
        code(ask.format("ratio(x, y)", "x / y"), "ratio", (3, 4, 0.75), (8, 4, 2)),
        code(ask.format("gap(x, y)", "x - y"), "gap", (3, 4, -1), (9, 4, 5)),
        code(ask.format("floor_half(n)", "n // 2"), "floor_half", (7, 3), (8, 4)),
        code(ask.format("modulo(a, b)", "a % b"), "modulo", (7, 3, 1), (8, 2, 0)),
        code(ask.format("fourth_power(x)", "x ** 4"), "fourth_power", (2, 16), (1, 1)),
    ]


def measures(_):
    ask = WRITE
    return [
        code(ask.format("square_area(side)", "the area of a square"), "square_area", (3, 9), (1, 1)),
        code(ask.format("square_perimeter(side)", "the perimeter of a square"), "square_perimeter", (3, 12), (1, 4)),
        code(ask.format("triangle_area(base, height)", "the area of a triangle"), "triangle_area", (4, 3, 6), (2, 2, 2)),
        code(ask.format("cube_volume(edge)", "the volume of a cube"), "cube_volume", (3, 27), (2, 8)),
        code(ask.format("to_metres(kilometres)", "the distance in metres"), "to_metres", (2, 2000), (0, 0)),
        code(ask.format("to_celsius(f)", "the temperature f of Fahrenheit in degrees Celsius"), "to_celsius", (32, 0.0), (212, 100.0)),
        code(ask.format("to_days(weeks)", "how many days that many weeks have"), "to_days", (2, 14), (0, 0)),
        code(ask.format("to_seconds(minutes)", "how many seconds that many minutes have"), "to_seconds", (2, 120), (0, 0)),
        code(ask.format("speed(distance, time)", "the speed"), "speed", (10, 2, 5), (3, 1, 3)),
        code(ask.format("price_with_tax(price, percent)", "the price with that many percent of tax added"), "price_with_tax", (100, 20, 120.0), (50, 10, 55.0)),
        code(ask.format("interest(amount, rate, years)", "the simple interest, where the rate is in percent a year"), "interest", (100, 5, 2, 10.0), (200, 10, 1, 20.0)),
        code(ask.format("bmi(weight, height)", "the body mass index, from kilograms and metres"), "bmi", (80, 2, 20.0), (50, 1, 50.0)),
    ]  # fmt: skip


def conversions(_):
    ask = WRITE
    return [
        code(ask.format("to_int(text)", "the string text as an integer"), "to_int", ("12", 12), ("-3", -3)),
        code(ask.format("to_float(text)", "the string text as a float"), "to_float", ("1.5", 1.5), ("2", 2.0)),
        code(ask.format("to_string(x)", "x as a string"), "to_string", (5, "5"), (1.5, "1.5")),
        code(ask.format("characters(text)", "the list of the characters of text"), "characters", ("ab", ["a", "b"]), ("", [])),
        code(ask.format("code_of(letter)", "the Unicode code point of a letter"), "code_of", ("a", 97), ("A", 65)),
        code(ask.format("letter_of(number)", "the character with that Unicode code point"), "letter_of", (97, "a"), (66, "B")),
        code(ask.format("to_hex(n)", "n in hexadecimal without prefix, in small letters"), "to_hex", (255, "ff"), (16, "10")),
        code(ask.format("from_binary(text)", "the number that the binary string text stands for"), "from_binary", ("101", 5), ("10", 2)),
        code(ask.format("to_bool(text)", "True if text is 'yes' and False otherwise"), "to_bool", ("yes", True), ("no", False)),
        code(ask.format("rounded(x)", "x rounded to two decimal places"), "rounded", (1.2345, 1.23), (2.0, 2.0)),
        code(ask.format("whole(x)", "the part of x before the decimal point, as an integer"), "whole", (3.7, 3), (5.0, 5)),
        code(ask.format("digit_list(n)", "the list of the decimal digits of n"), "digit_list", (123, [1, 2, 3]), (7, [7])),
    ]  # fmt: skip


def more_text(_):
    ask = WRITE
    return [
        code(ask.format("whisper(text)", "the text in lower case"), "whisper", ("AB", "ab"), ("x1", "x1")),
        code(ask.format("title(text)", "the text with every word beginning with a capital"), "title", ("big dog", "Big Dog"), ("a", "A")),
        code(ask.format("no_spaces(text)", "the text without any spaces"), "no_spaces", ("a b c", "abc"), ("x", "x")),
        code(ask.format("starts_with_a(text)", "True if text starts with 'a' and False otherwise"), "starts_with_a", ("abc", True), ("bca", False)),
        code(ask.format("ends_with(text, end)", "True if text ends with end and False otherwise"), "ends_with", ("abc", "c", True), ("abc", "b", False)),
        code(ask.format("commas(text)", "the list of the parts of text between commas"), "commas", ("a,b", ["a", "b"]), ("x", ["x"])),
        code(ask.format("dashes(items)", "the strings of a list joined by '-'"), "dashes", (["a", "b"], "a-b"), (["x"], "x")),
        code(ask.format("count_letter(text, letter)", "how often the letter occurs in text"), "count_letter", ("banana", "a", 3), ("x", "y", 0)),
        code(ask.format("without_first(text)", "text without its first character"), "without_first", ("abc", "bc"), ("x", "")),
        code(ask.format("twice(text)", "text two times in a row"), "twice", ("ab", "abab"), ("", "")),
        code(ask.format("longest_word(text)", "the longest word of text"), "longest_word", ("a bcd ef", "bcd"), ("x", "x")),
        code(ask.format("count_words(text)", "how many words text has"), "count_words", ("a b c", 3), ("x", 1)),
    ]  # fmt: skip


def more_lists(_):
    ask = WRITE
    return [
        code(ask.format("head(items)", "the first item of a list"), "head", ([1, 2], 1), (["a"], "a")),
        code(ask.format("tail(items)", "the last item of a list"), "tail", ([1, 2], 2), (["a"], "a")),
        code(ask.format("joined(a, b)", "the items of list a followed by those of list b"), "joined", ([1], [2], [1, 2]), ([], [], [])),
        code(ask.format("first_three(items)", "the first three items of a list"), "first_three", ([1, 2, 3, 4], [1, 2, 3]), ([1], [1])),
        code(ask.format("odds(numbers)", "only the odd numbers of a list"), "odds", ([1, 2, 3], [1, 3]), ([2], [])),
        code(ask.format("positives(numbers)", "only the numbers of a list above zero"), "positives", ([1, -2, 3, 0], [1, 3]), ([-1], [])),
        code(ask.format("halved(numbers)", "a list with each number divided by two"), "halved", ([2, 4], [1, 2]), ([], [])),
        code(ask.format("lengths(words)", "the list of the lengths of the words"), "lengths", (["a", "bcd"], [1, 3]), ([], [])),
        code(ask.format("descending(numbers)", "a copy of a list sorted from large to small"), "descending", ([1, 3, 2], [3, 2, 1]), ([], [])),
        code(ask.format("sum_of_squares(numbers)", "the sum of the squares of a list of numbers"), "sum_of_squares", ([1, 2, 3], 14), ([], 0)),
        code(ask.format("how_often(items, x)", "how often x is in a list"), "how_often", ([1, 2, 1], 1, 2), ([], 1, 0)),
        code(ask.format("second_largest(numbers)", "the second largest of the distinct numbers of a list"), "second_largest", ([1, 5, 3], 3), ([2, 2, 1], 1)),
    ]  # fmt: skip


def dictionaries(_):
    ask = WRITE
    return [
        code(ask.format("lookup(table, key)", "the value of a key in a dictionary"), "lookup", ({"a": 1}, "a", 1), ({"x": "y"}, "x", "y")),
        code(ask.format("lookup_or_zero(table, key)", "the value of a key in a dictionary, or 0"), "lookup_or_zero", ({"a": 1}, "a", 1), ({}, "a", 0)),
        code(ask.format("has_key(table, key)", "True if a dictionary has the key and False otherwise"), "has_key", ({"a": 1}, "a", True), ({}, "a", False)),
        code(ask.format("key_list(table)", "the list of the keys of a dictionary"), "key_list", ({"a": 1}, ["a"]), ({}, [])),
        code(ask.format("value_list(table)", "the list of the values of a dictionary"), "value_list", ({"a": 1}, [1]), ({}, [])),
        code(ask.format("size(table)", "how many keys a dictionary has"), "size", ({"a": 1}, 1), ({}, 0)),
        code(ask.format("merged(a, b)", "a dictionary with the entries of a and b, where those of b win"), "merged", ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}), ({}, {}, {})),
        code(ask.format("value_sum(table)", "the sum of the values of a dictionary"), "value_sum", ({"a": 1, "b": 2}, 3), ({}, 0)),
        code(ask.format("swapped(table)", "a dictionary with keys and values swapped"), "swapped", ({"a": "b"}, {"b": "a"}), ({}, {})),
        code(ask.format("counts(text)", "a dictionary of how often each character occurs in text"), "counts", ("aab", {"a": 2, "b": 1}), ("", {})),
        code(ask.format("pair_up(keys, values)", "a dictionary of the keys with their values"), "pair_up", (["a"], [1], {"a": 1}), ([], [], {})),
        code(ask.format("best_key(table)", "the key with the largest value in a dictionary"), "best_key", ({"a": 1, "b": 2}, "b"), ({"x": 0}, "x")),
    ]  # fmt: skip


def algorithms(_):
    ask = WRITE
    return [
        code(ask.format("two_sum(numbers, target)", "the list of the indices of the two numbers that add up to target, the smaller first"), "two_sum", ([2, 7, 11], 9, [0, 1]), ([3, 1, 4], 5, [1, 2])),
        code(ask.format("anagrams(a, b)", "True if a and b have the same letters and False otherwise"), "anagrams", ("abc", "cab", True), ("ab", "abb", False)),
        code(ask.format("flatten(lists)", "one list of all items of a list of lists"), "flatten", ([[1], [2, 3]], [1, 2, 3]), ([], [])),
        code(ask.format("transpose(rows)", "the list of the columns of a matrix"), "transpose", ([[1, 2], [3, 4]], [[1, 3], [2, 4]])),
        code(ask.format("merge(a, b)", "one sorted list of the items of two sorted lists"), "merge", ([1, 3], [2], [1, 2, 3]), ([], [1], [1])),
        code(ask.format("rotate(items, n)", "a list with its first n items moved to the end"), "rotate", ([1, 2, 3], 1, [2, 3, 1]), ([1, 2], 0, [1, 2])),
        code(ask.format("chunks(items, n)", "the list cut into lists of n items"), "chunks", ([1, 2, 3], 2, [[1, 2], [3]]), ([], 2, [])),
        code(ask.format("primes(n)", "the list of the prime numbers up to n"), "primes", (7, [2, 3, 5, 7]), (1, [])),
        code(ask.format("lcm(a, b)", "the least common multiple of a and b"), "lcm", (4, 6, 12), (3, 5, 15)),
        code(ask.format("to_roman(n)", "n as a Roman numeral, for 1 to 10"), "to_roman", (4, "IV"), (9, "IX"), (7, "VII")),
        code(ask.format("balanced(text)", "True if the round brackets of text are balanced and False otherwise"), "balanced", ("(())", True), ("())(", False)),
        code(ask.format("median(numbers)", "the median of a list of numbers"), "median", ([3, 1, 2], 2), ([1, 2, 3, 4], 2.5)),
    ]  # fmt: skip


def completed(_):
    told = (
        ("sum_both(a, b)", "the sum of a and b", [(2, 3, 5), (-1, 1, 0)]),
        ("four_times(x)", "x times four", [(2, 8), (0, 0)]),
        ("is_zero(x)", "whether x is zero", [(0, True), (1, False)]),
        ("bigger(a, b)", "the larger of a and b", [(1, 2, 2), (3, -1, 3)]),
        ("is_adult(age)", "whether age is at least 18", [(18, True), (17, False)]),
        ("initial(name)", "the first letter of name", [("Ada", "A"), ("x", "x")]),
        ("mirror(text)", "text backwards", [("abc", "cba"), ("", "")]),
        ("add_all(numbers)", "the sum of the numbers", [([1, 2], 3), ([], 0)]),
        ("item_count(items)", "the number of items", [([1, 2], 2), ([], 0)]),
        ("multiples(n)", "the first three multiples of n as a list", [(2, [2, 4, 6]), (5, [5, 10, 15])]),
        ("grade(points)", "'pass' if points is at least 50 and 'fail' otherwise", [(50, "pass"), (49, "fail")]),
        ("fizz(n)", "'fizz' if n is divisible by 3 and n otherwise", [(3, "fizz"), (4, 4)]),
    )  # fmt: skip
    return [
        code(_COMPLETE.format(head, what), head.split("(")[0], *cases) for head, what, cases in told
    ]


def mended(_):
    told = (
        ("the sum of a and b", "def plus(a, b):\n    return a - b", [(2, 3, 5), (1, 1, 2)]),
        ("x times two", "def twofold(x):\n    return x * 3", [(2, 4), (5, 10)]),
        ("whether n is even", "def even(n):\n    return n % 2 == 1", [(2, True), (3, False)]),
        ("the larger of a and b", "def higher(a, b):\n    return a if a < b else b", [(1, 2, 2), (5, 3, 5)]),
        ("the last item of a list", "def final(items):\n    return items[0]", [([1, 2], 2), ([7], 7)]),
        ("the number of items of a list", "def amount(items):\n    return len(items) + 1", [([1, 2], 2), ([], 0)]),
        ("x to the power of two", "def squared(x):\n    return x ** 3", [(3, 9), (2, 4)]),
        ("the text in upper case", "def loud(text):\n    return text.lower()", [("a", "A"), ("bC", "BC")]),
        ("the sum of a list of numbers", "def summed(numbers):\n    total = 1\n    for n in numbers:\n        total += n\n    return total", [([1, 2], 3), ([], 0)]),
        ("the sum of the numbers from 1 to n", "def up_to(n):\n    return sum(range(1, n))", [(3, 6), (1, 1)]),
        ("whether x is in the list", "def within(items, x):\n    return x not in items", [([1], 1, True), ([], 1, False)]),
        ("the mean of a list of numbers", "def middle_value(numbers):\n    return sum(numbers) * len(numbers)", [([1, 3], 2), ([4], 4)]),
    )  # fmt: skip
    return [
        code(_FIX.format(what, program), program[4:].split("(")[0], *cases)
        for what, program, cases in told
    ]


def translated(_):
    told = (
        ("function addUp(a, b) { return a + b; }", [(1, 2, 3)]),
        ("function isBig(x) { return x > 100; }", [(101, True), (5, False)]),
        ("function greetings(name) { return 'Hi ' + name; }", [("you", "Hi you")]),
        ("function timesThree(x) { return x * 3; }", [(2, 6)]),
        ("function isSame(a, b) { return a === b; }", [(1, 1, True), (1, 2, False)]),
        ("function sizeOf(text) { return text.length; }", [("abc", 3), ("", 0)]),
        ("function either(a, b) { return a || b; }", [(True, False, True), (False, False, False)]),
        ("function largerOf(a, b) { return a > b ? a : b; }", [(1, 2, 2), (3, 1, 3)]),
        ("function capitals(text) { return text.toUpperCase(); }", [("ab", "AB")]),
        ("function addOne(items) { return items.map(x => x + 1); }", [([1, 2], [2, 3]), ([], [])]),
        ("function bigOnes(items) { return items.filter(x => x > 9); }", [([1, 10], [10]), ([], [])]),
        ("function factorialOf(n) { return n <= 1 ? 1 : n * factorialOf(n - 1); }", [(4, 24), (0, 1)]),
    )  # fmt: skip
    return [
        code(_TRANSLATE.format(program), program.split("(")[0].split()[1], *cases)
        for program, cases in told
    ]
