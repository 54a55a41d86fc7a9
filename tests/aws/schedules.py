"""Whether EventBridge Scheduler would take an expression. cfn-lint does not look into cron fields, so this does.
Rules: rate(value unit); cron(minutes hours day-of-month month day-of-week year); at(yyyy-mm-ddThh:mm:ss)."""
import datetime
import re

MONTHS = {m: i for i, m in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), 1)}
DAYS = {d: i for i, d in enumerate("SUN MON TUE WED THU FRI SAT".split(), 1)}
FIELDS = [("minutes", 0, 59, {}), ("hours", 0, 23, {}), ("day of month", 1, 31, {}), ("month", 1, 12, MONTHS),
          ("day of week", 1, 7, DAYS), ("year", 1970, 2199, {})]


def wrong(expression):
    """What is wrong with it, or `None`."""
    match = re.fullmatch(r"(rate|cron|at)\((.*)\)", expression)
    if not match:
        return "neither rate(…), cron(…) nor at(…)"
    kind, inner = match.groups()
    return {"rate": rate, "cron": cron, "at": at}[kind](inner)


def rate(inner):
    match = re.fullmatch(r"([1-9]\d*) (minute|hour|day)(s?)", inner)
    if not match:
        return "rate takes a whole number above zero and minute(s), hour(s) or day(s)"
    if (match[1] == "1") == bool(match[3]):
        return f"write {match[1]} {match[2]}{'' if match[1] == '1' else 's'}"
    return None


def at(inner):
    try:
        datetime.datetime.strptime(inner, "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return "at takes yyyy-mm-ddThh:mm:ss"
    return None


def cron(inner):
    fields = inner.split()
    if len(fields) != 6:
        return f"cron takes six fields, there are {len(fields)}"
    if (fields[2] == "?") == (fields[4] == "?"):
        return "exactly one of day of month and day of week is `?`"
    for (name, low, high, names), field in zip(FIELDS, fields):
        if field == "?" and name.startswith("day"):
            continue
        for part in field.split(","):
            if fault := member(part, name, low, high, names):
                return f"{name}: {fault}"
    return None


def member(part, name, low, high, names):
    """One member of a list in a field."""
    base, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return f"`{part}`: a step is a whole number above zero"
    if base == "*":
        return None
    if name == "day of month" and re.fullmatch(r"L|LW|([1-9]|[12]\d|3[01])W", base):
        return None
    if name == "day of week":
        last = re.fullmatch(r"(.+)L|(.+)#([1-5])", base)
        if last:
            base = last[1] or last[2]
        elif base == "L":
            return None
    ends = [names.get(e.upper(), e) for e in base.split("-")]
    if len(ends) > 2 or not all(str(e).isdigit() and low <= int(e) <= high for e in ends):
        return f"`{part}` is not within {low} to {high}"
    if len(ends) == 2 and int(ends[0]) > int(ends[1]) and name != "day of week":
        return f"`{part}` runs backwards"
    return None


GOOD = ["rate(1 minute)", "rate(15 minutes)", "rate(1 day)", "cron(0 6 * * ? *)", "cron(3/15 * * * ? *)", "cron(0 10 ? * MON-FRI *)",
        "cron(0 8 1,15 * ? 2026-2030)", "cron(0 0 L * ? *)", "cron(0 0 ? * 6#3 *)", "at(2026-12-01T00:00:00)"]
BAD = ["rate(0 minutes)", "rate(1 minutes)", "rate(15 minute)", "rate(5 seconds)", "every 5 minutes", "cron(0 6 * * *)",
       "cron(0 6 * * * *)", "cron(60 6 * * ? *)", "cron(0 24 * * ? *)", "cron(0 6 32 * ? *)", "cron(0 6 ? 13 MON *)",
       "cron(0 6 ? * FOO *)", "cron(*/0 * * * ? *)", "cron(0 6 ? * ? *)", "cron(5-1 * * * ? *)", "at(2026-13-01T00:00:00)"]


def self_test():
    """The check itself: sentences where it is mistaken."""
    return ([f"`{e}` was called wrong: {wrong(e)}" for e in GOOD if wrong(e)]
            + [f"`{e}` was called right" for e in BAD if not wrong(e)])
