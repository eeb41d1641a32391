# ruff: noqa: E501 - one task a line: these are tables
"""Families of short questions of programmers, whose answer is a name or a line of code."""

from tests.benchmarks.tasks.forms import line, named, word


def python_builtins(_):
    ask = "Which built-in Python function {}?"
    told = (
        ("returns the number of items of a list", "len"),
        ("returns the largest of its arguments", "max"),
        ("returns the smallest of its arguments", "min"),
        ("adds up the items of a list", "sum"),
        ("writes text to the screen", "print"),
        ("returns the absolute value of a number", "abs"),
        ("returns a sorted list of the items", "sorted"),
        ("reads a line that the user types", "input"),
        ("opens a file", "open"),
        ("gives the numbers from 0 up to a limit, for a loop", "range"),
        ("turns a string of digits into an integer", "int"),
        ("tells the class of an object", "type"),
    )
    return [word(ask.format(what), named(name)) for what, name in told]


def python_keywords(_):
    ask = "Which Python keyword {}?"
    told = (
        ("begins the definition of a function", "def"),
        ("begins the definition of a class", "class"),
        ("gives a value back from a function", "return"),
        ("begins a loop over the items of a list", "for"),
        ("begins a loop that runs as long as a condition holds", "while"),
        ("makes a module's names usable", "import"),
        ("leaves a loop at once", "break"),
        ("goes on with the next round of a loop", "continue"),
        ("does nothing, where a statement is needed", "pass"),
        ("begins a block whose exceptions are handled", "try"),
        ("begins the branch taken when no condition held", "else"),
        ("makes a function without a name", "lambda"),
    )
    return [word(ask.format(what), named(name)) for what, name in told]


def python_methods(_):
    told = (
        ("string method turns all letters into capitals", "upper"),
        ("string method turns all letters into small ones", "lower"),
        ("string method cuts a string into a list of words", "split"),
        ("string method puts the strings of a list together", "join"),
        ("string method takes spaces off both ends", "strip"),
        ("string method puts one piece of text in the place of another", "replace"),
        ("list method adds an item to the end", "append"),
        ("list method takes the last item off", "pop"),
        ("list method puts the items in order", "sort"),
        ("list method turns the order around", "reverse"),
        ("dictionary method gives all keys", "keys"),
        ("dictionary method gives all values", "values"),
    )
    return [word(f"Which Python {what}?", named(name)) for what, name in told]


def python_errors(_):
    ask = "Which exception does Python raise for {}?"
    told = (
        ("`1 / 0`", "ZeroDivisionError"),
        ("`int('abc')`", "ValueError"),
        ("`[1, 2][5]`", "IndexError"),
        ("`{'a': 1}['b']`", "KeyError"),
        ("`'a' + 1`", "TypeError"),
        ("the use of a name that was never defined", "NameError"),
        ("`None.name`", "AttributeError"),
        ("`open('missing.txt')` when there is no such file", "FileNotFoundError"),
        ("the import of a module that does not exist", "(ModuleNotFound|Import)Error"),
        ("an `assert` that fails", "AssertionError"),
        ("a program whose lines are not indented as they must be", "IndentationError"),
        ("a function that calls itself without end", "RecursionError"),
    )
    return [word(ask.format(what), rf"\b{name}\b") for what, name in told]


def shell_commands(_):
    ask = "Which Linux shell command {}?"
    told = (
        ("lists the files of a folder", "ls"),
        ("changes the current folder", "cd"),
        ("shows the path of the current folder", "pwd"),
        ("makes a new folder", "mkdir"),
        ("copies a file", "cp"),
        ("moves a file", "mv"),
        ("deletes a file", "rm"),
        ("shows the contents of a file", "cat"),
        ("finds lines of files that match a pattern", "grep"),
        ("changes the permissions of a file", "chmod"),
        ("shows the first lines of a file", "head"),
        ("counts lines and words", "wc"),
    )
    return [word(ask.format(what), named(name)) for what, name in told]


def git_commands(_):
    ask = "Which git command {}?"
    told = (
        ("makes a copy of a remote repository", "clone"),
        ("records the staged changes", "commit"),
        ("sends commits to the remote repository", "push"),
        ("fetches and merges what changed in the remote repository", "pull"),
        ("shows what has changed and what is staged", "status"),
        ("stages a file", "add"),
        ("shows the history of commits", "log"),
        ("joins another branch into the current one", "merge"),
        ("starts a new, empty repository", "init"),
        ("lists all branches", "branch"),
        ("goes to another branch", "(checkout|switch)"),
        ("shows the lines that were changed", "diff"),
    )
    return [word(ask.format(what), named(name)) for what, name in told]


def html_tags(_):
    ask = "Which HTML tag {}?"
    told = (
        ("makes a paragraph", "p"),
        ("makes a link", "a"),
        ("shows a picture", "img"),
        ("makes the largest heading", "h1"),
        ("makes a list with bullets", "ul"),
        ("makes a numbered list", "ol"),
        ("makes a table", "table"),
        ("makes a row of a table", "tr"),
        ("begins a new line", "br"),
        ("makes a button", "button"),
        ("holds what is shown of the page", "body"),
        ("gives the page its title", "title"),
    )
    return [word(ask.format(what), rf"(?i)<\s*{name}\b|^\W*{name}\W*$") for what, name in told]


def sql_queries(_):
    ask = "Write an SQL query that {}."
    told = (
        ("selects all columns of the table users", r"select\s+\*\s+from\s+users"),
        ("selects the column name of the table users", r"select\s+name\s+from\s+users"),
        ("counts the rows of the table orders", r"select\s+count\(.+\)[\s\w]*\sfrom\s+orders"),
        ("deletes all rows of the table logs", r"(delete\s+from|truncate\s+table)\s+logs"),
        ("selects the users with an age above 30 from the table users", r"from\s+users\s+where\s+age\s*>\s*30"),
        ("selects all products of the table products ordered by price", r"from\s+products\s+order\s+by\s+price"),
        ("gives the largest price of the table products", r"select\s+max\(\s*price\s*\)"),
        ("gives the average age of the table users", r"select\s+avg\(\s*age\s*\)"),
        ("selects the first 5 rows of the table users", r"from\s+users[\s\w]*\slimit\s+5|select\s+top\s+5"),
        ("drops the table logs", r"drop\s+table\s+(if\s+exists\s+)?logs"),
        ("selects the distinct cities of the table users", r"select\s+distinct\s+(city|cities)"),
        ("sums the column amount of the table orders", r"select\s+sum\(\s*amount\s*\)"),
    )  # fmt: skip
    return [line(ask.format(what), rf"(?i){pattern}") for what, pattern in told]


def javascript_lines(_):
    ask = "Write one line of JavaScript that {}."
    told = (
        ("writes 'hi' to the console", r"console\.log\(\s*['\"`]hi['\"`]"),
        ("declares a constant x with the value 5", r"const\s+x\s*=\s*5"),
        ("shows the message 'done' in an alert", r"alert\(\s*['\"`]done['\"`]"),
        ("gives the length of the array items", r"items\.length"),
        ("adds 3 to the end of the array items", r"items\.push\(\s*3\s*\)"),
        ("turns the string text into capitals", r"text\.toUpperCase\(\)"),
        ("parses the JSON string text", r"JSON\.parse\(\s*text\s*\)"),
        ("turns the object data into a JSON string", r"JSON\.stringify\(\s*data"),
        ("gives the larger of a and b", r"Math\.max\(\s*a\s*,\s*b\s*\)|a\s*>=?\s*b\s*\?"),
        ("rounds x to the nearest integer", r"Math\.round\(\s*x\s*\)"),
        ("splits the string text at commas", r"text\.split\(\s*['\"`],\s?['\"`]\s*\)"),
        ("takes the last item off the array items", r"items\.pop\(\)"),
    )
    return [line(ask.format(what), pattern) for what, pattern in told]


def python_statements(_):
    ask = "Write one Python statement that {}."
    told = (
        ("prints the text hello", r"(?i)print\(\s*['\"]hello"),
        ("sets x to 5", r"\bx\s*=\s*5"),
        ("imports the module math", r"import\s+math|from\s+math\s+import"),
        ("makes an empty list named items", r"items\s*=\s*(\[\s*\]|list\(\))"),
        ("makes an empty dictionary named table", r"table\s*=\s*(\{\s*\}|dict\(\))"),
        ("adds 1 to x", r"x\s*\+=\s*1|x\s*=\s*x\s*\+\s*1"),
        ("prints the sum of a and b", r"print\(\s*(a\s*\+\s*b|sum\()"),
        ("appends 4 to the list items", r"items\.append\(\s*4\s*\)"),
        ("sets name to the text Ada", r"name\s*=\s*['\"]Ada['\"]"),
        ("prints the length of the list items", r"print\(\s*len\(\s*items\s*\)"),
        ("sorts the list items in place", r"items\.sort\(\)"),
        ("raises a ValueError", r"raise\s+ValueError"),
    )
    return [line(ask.format(what), pattern) for what, pattern in told]


def json_objects(_):
    ask = "Write a JSON object with {}."
    told = (
        ("the key name and the value Ada", r'\{\s*"name"\s*:\s*"Ada"\s*\}'),
        ("the key age and the number 30", r'\{\s*"age"\s*:\s*30\s*\}'),
        ("the key ok and the value true", r'\{\s*"ok"\s*:\s*true\s*\}'),
        ("the key city and the value Rome", r'\{\s*"city"\s*:\s*"Rome"\s*\}'),
        ("the key x and the number 1", r'\{\s*"x"\s*:\s*1\s*\}'),
        ("the key list and an empty array", r'\{\s*"list"\s*:\s*\[\s*\]\s*\}'),
        ("the key count and the number 0", r'\{\s*"count"\s*:\s*0\s*\}'),
        ("the key color and the value red", r'\{\s*"color"\s*:\s*"red"\s*\}'),
        ("the key value and null", r'\{\s*"value"\s*:\s*null\s*\}'),
        ("the keys a and b and the numbers 1 and 2", r'\{\s*"a"\s*:\s*1\s*,\s*"b"\s*:\s*2\s*\}'),
        ("the key numbers and an array of 1, 2 and 3", r'\{\s*"numbers"\s*:\s*\[\s*1\s*,\s*2\s*,\s*3\s*\]\s*\}'),
        ("the key done and the value false", r'\{\s*"done"\s*:\s*false\s*\}'),
    )  # fmt: skip
    return [line(ask.format(what), pattern) for what, pattern in told]


def file_endings(_):
    ask = "In which programming language are files whose names end in {} written?"
    told = (
        (".py", "Python"), (".js", "JavaScript"), (".java", "Java"), (".rb", "Ruby"),
        (".go", r"Go(lang)?"), (".rs", "Rust"), (".cpp", r"C\+\+"), (".php", "PHP"),
        (".cs", "C#"), (".swift", "Swift"), (".kt", "Kotlin"), (".ts", "TypeScript"),
    )  # fmt: skip
    return [word(ask.format(what), rf"(?i)(?<![\w.]){name}(?!\w)") for what, name in told]


def abbreviations(_):
    ask = "What does the abbreviation {} stand for in computing?"
    told = (
        ("CPU", r"central processing unit"), ("RAM", r"random[- ]access memory"),
        ("HTML", r"hyper ?text markup language"), ("URL", r"uniform resource locator"),
        ("SQL", r"structured query language"), ("API", r"application programming interface"),
        ("CSS", r"cascading style sheets?"), ("HTTP", r"hyper ?text transfer protocol"),
        ("IDE", r"integrated development environment"), ("GPU", r"graphics processing unit"),
        ("JSON", r"javascript object notation"), ("OOP", r"object[- ]oriented programming"),
    )  # fmt: skip
    return [word(ask.format(what), rf"(?i){name}") for what, name in told]
