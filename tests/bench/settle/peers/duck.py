#!/usr/bin/env python3
"""The tiers of tillway_core::settle in SQL on DuckDB, over the files of `settle-bench make`. Usage: duck.py DATA OUT [MEMORY]

What SQL cannot express is simplified: of pairs that compete, those are taken that are each other's only cheapest, in rounds, where
Tillway finds the best choice of all; a sum is that of everything linked in the bucket, where Tillway looks for the part that
fits; and exceptions are left at "open", without class, nearest miss, fees and lateness."""
import pathlib
import sys

import duckdb

data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
db = duckdb.connect()
db.execute("set threads = 2")
db.execute("set preserve_insertion_order = false")
if len(sys.argv) > 3:
    db.execute(f"set memory_limit = '{sys.argv[3]}'; set temp_directory = '{out / 'spill'}'")


def sql(text: str, **names: object) -> None:
    db.execute(text.format(**names))


text = {c: "VARCHAR" for c in ("own", "parent", "payment", "reference", "brand", "last4", "id", "kind")}
line_types = text | {"batch": "VARCHAR", "shown_currency": "VARCHAR", "shown": "BIGINT", "day": "INTEGER"}
line_types |= {c: "BIGINT" for c in ("gross", "fee", "fee_tax", "net")} | {"currency": "VARCHAR"}
expected_types = text | {"standing": "VARCHAR", "amount": "BIGINT", "booked_fee": "BIGINT", "currency": "VARCHAR", "due": "INTEGER", "order": "VARCHAR"}
order = ["id", "batch", "kind", "own", "parent", "payment", "reference", "gross", "fee", "fee_tax", "net", "currency", "shown", "shown_currency", "day", "brand", "last4"]
line_types = {c: line_types[c] for c in order}
order = ["id", "kind", "standing", "own", "parent", "payment", "reference", "amount", "booked_fee", "currency", "due", "brand", "last4", "order"]
expected_types = {c: expected_types[c] for c in order}

# Every id once, the least by content. Only ids that come twice are sorted.
for table, file, types in (("line", "lines.csv", line_types), ("expected", "expected.csv", expected_types)):
    sql("create temp table raw as select row_number() over () n, * from read_csv('{file}', header = true, columns = {types})", file=data / file, types=types)
    everything = ", ".join(f'"{c}"' for c in types)
    sql("create temp table twice as select id from raw group by id having count(*) > 1")
    sql(
        """create temp table copy as select n from (select n, row_number() over (partition by id order by {everything}) r
           from raw where id in (from twice)) where r > 1""",
        everything=everything,
    )
    if table == "line":
        sql(
            """create temp table line as select n, id, kind, own, parent, payment, reference, gross, currency, shown, shown_currency, day,
               brand, last4, coalesce(shown_currency, currency) tender_currency, coalesce(shown, gross) tender, false bound
               from raw where n not in (from copy)"""
        )
    else:
        sql(
            """create temp table expected as select n, id, kind, own, parent, payment, reference, amount, currency, due, brand, last4,
               standing = 'unknown' unknown, false bound from raw where n not in (from copy) and standing <> 'explained'"""
        )
    sql("drop table raw; drop table twice; drop table copy")

sql("create temp table groups (tier varchar, currency varchar, lines_sum bigint, expected_sum bigint, tolerance varchar, lines varchar, expected varchar)")
sql("create temp table open_line as select id from line limit 0; create temp table open_expected as select id from expected limit 0")

PARENT = "coalesce({0}.parent, {0}.own)"
PAYMENT = "coalesce({0}.payment, {0}.parent, {0}.own)"
# Tier: key of both sides, who takes part, and the days before and after the due day.
named = "not (e.unknown and e.kind <> 'charge')"
content = "not l.bound and not e.bound and not e.unknown"
TIERS = [
    ("own_id", "l.own = e.own", "true", 30, 400),
    ("parent_id", f"{PARENT.format('l')} = {PARENT.format('e')}", named, 30, 400),
    ("payment_id", f"{PAYMENT.format('l')} = {PAYMENT.format('e')}", named, 30, 400),
    ("reference", "l.reference = e.reference", "not l.bound and not e.bound", 7, 60),
    ("card", "l.tender_currency = e.currency and l.kind = e.kind and l.brand = e.brand and l.last4 = e.last4", content, 1, 4),
    ("amount", "l.tender_currency = e.currency and l.kind = e.kind and l.tender = e.amount", content, 1, 4),
]
APART = """coalesce(l.own <> e.own, false) and not (coalesce(l.parent = e.own, false) or coalesce(l.payment = e.own, false)
    or coalesce(e.parent = l.own, false) or coalesce(e.payment = l.own, false))"""
DIFFER = """or coalesce(l.reference <> e.reference, false) or coalesce(l.payment <> e.payment, false)
    or coalesce(l.brand <> e.brand or l.last4 <> e.last4, false)"""


def choose(condition: str, tier: str, tolerance: str) -> None:
    """Pairs: those alone with each other, then in rounds those that are each other's only cheapest; the rest is held."""
    sql("create or replace temp table option as select l, e, cost from pair where {c} and l not in (from done_l) and e not in (from done_e)", c=condition)
    sql("create or replace temp table many_l as select l from option group by l having count(*) > 1")
    sql("create or replace temp table many_e as select e from option group by e having count(*) > 1")
    sql("create or replace temp table hard as select * from option where l in (from many_l) or e in (from many_e)")
    sql("create or replace temp table taken as select l, e from option where l not in (from many_l) and e not in (from many_e)")
    while True:
        best = """select l, e from hard qualify
            rank() over (partition by l order by cost) = 1 and rank() over (partition by e order by cost) = 1
            and count(*) over (partition by l, cost) = 1 and count(*) over (partition by e, cost) = 1"""
        sql("create or replace temp table best as " + best)
        if db.execute("select count(*) from best").fetchone()[0] == 0:
            break
        sql("insert into taken from best")
        sql("delete from hard where l in (select l from best) or e in (select e from best)")
    sql(
        """insert into groups select '{tier}', e.currency, p.amt, e.amount, '{tolerance}', l.id, e.id
           from taken t join pair p on p.l = t.l and p.e = t.e join line l on l.n = t.l join expected e on e.n = t.e""",
        tier=tier,
        tolerance=tolerance,
    )
    sql("insert into matched select l from taken")
    sql("insert into done_l select l from taken; insert into done_e select e from taken")
    sql("insert into held_l select distinct l from hard; insert into held_e select distinct e from hard")
    sql("insert into done_l select distinct l from hard; insert into done_e select distinct e from hard")


for tier, key, who, early, late in TIERS:
    identity = tier in ("own_id", "parent_id", "payment_id", "reference")
    against = "false" if tier == "own_id" else APART + ("" if identity else DIFFER)
    sql(
        """create or replace temp table pair as select l.n l, e.n e, l.kind = e.kind same, l.kind kind,
             case when l.currency = e.currency then l.gross when l.shown_currency = e.currency then l.shown end amt,
             e.amount amount, (l.day - e.due) * (l.day - e.due) + case when e.unknown then 1099511627776 else 0 end as cost,
             l.day - e.due between -{early} and {late} and not ({against}) linked, {apart} apart
           from line l join expected e on {key} where {who}""",
        key=key, who=who, early=early, late=late, against=against, apart=APART,
    )
    for table in ("done_l", "done_e", "held_l", "held_e", "matched"):
        sql("create or replace temp table {t} (n bigint)", t=table)
    choose("same and amt = amount and linked", tier, "")
    if tier != "amount":
        free = "l not in (from done_l) and e not in (from done_e)"
        # One line for all that is linked with it; all lines that are linked with one expectation.
        sql(
            """create or replace temp table sum_e as select l from pair where linked and {free} group by l
               having count(*) > 1 and count(amt) = count(*) and min(amt) = sum(amount)""",
            free=free,
        )
        sql("create or replace temp table sum_e2 as select e from pair where l in (from sum_e) and linked and {free} group by e having count(*) > 1", free=free)
        sql(
            """create or replace temp table member as select l root, l, e, amt from pair where linked and {free} and l in (from sum_e)
               and l not in (select l from pair where e in (from sum_e2))""",
            free=free,
        )
        sql(
            """insert into groups select '{tier}', min(e.currency), min(m.amt), sum(e.amount), '', min(l.id), string_agg(e.id, ' ' order by e.id)
               from member m join line l on l.n = m.l join expected e on e.n = m.e group by m.root""",
            tier=tier,
        )
        sql("insert into matched select l from member; insert into done_l select l from member; insert into done_e select e from member")
        sql(
            """create or replace temp table sum_l as select e from pair where linked and {free} and amt is not null group by e
               having count(*) > 1 and min(amount) = sum(amt)""",
            free=free,
        )
        sql("create or replace temp table sum_l2 as select l from pair where e in (from sum_l) and linked and {free} group by l having count(*) > 1", free=free)
        sql(
            """create or replace temp table member as select e root, l, e, amt from pair where linked and {free} and amt is not null and e in (from sum_l)
               and e not in (select e from pair where l in (from sum_l2))""",
            free=free,
        )
        sql(
            """insert into groups select '{tier}', min(e.currency), sum(m.amt), min(e.amount), '', string_agg(l.id, ' ' order by l.id), min(e.id)
               from member m join line l on l.n = m.l join expected e on e.n = m.e group by m.root""",
            tier=tier,
        )
        sql("insert into matched select l from member; insert into done_l select l from member; insert into done_e select e from member")
        choose("same and amt <> amount and abs(amt - amount) <= 2 and kind in ('charge', 'refund') and linked", tier, "rounding")
    if identity:
        # What settles again what was matched in its bucket.
        sql("create or replace temp table left_over as select l, e from pair where l not in (from done_l)")
        sql("create or replace temp table beside as select l, e from pair where e in (select e from left_over) and l in (from matched)")
        sql(
            """create or replace temp table again as select distinct l.n from left_over p join beside q on q.e = p.e
               join line l on l.n = p.l join line m on m.n = q.l
               where m.kind = l.kind and m.tender = l.tender and m.tender_currency = l.tender_currency and not ({apart})""",
            apart=APART.replace("e.", "m."),
        )
        sql("insert into done_l from again; insert into held_l from again")
        # Several lines that only together equal several expectations.
        sql(
            """create or replace temp table bucket as select min(e) over (partition by l) root, l, e, amt, amount, linked
               from pair where l not in (from done_l) and e not in (from done_e)"""
        )
        sql(
            """create or replace temp table together as select root from (select root, count(distinct l) cl, count(distinct e) ce, count(*) c,
                 bool_and(linked) linked, count(amt) ca, sum(amt) s, sum(amount) a from bucket group by root)
               where cl > 1 and ce > 1 and c = cl * ce and ca = c and linked and s / ce = a / cl and s % ce = 0"""
        )
        sql(
            """create or replace temp table hard as select l, e from bucket where root in (from together);
               insert into held_l select distinct l from hard; insert into held_e select distinct e from hard;
               insert into done_l select distinct l from hard; insert into done_e select distinct e from hard"""
        )
    if tier == "own_id":
        sql(
            """create or replace temp table bound as select l, e from pair where same and l not in (from done_l) and e not in (from done_e);
               update line set bound = true where n in (select l from bound); update expected set bound = true where n in (select e from bound)"""
        )
    sql("insert into open_line select id from line where n in (from held_l); insert into open_expected select id from expected where n in (from held_e)")
    sql("create or replace temp table line as select * from line where n not in (from done_l)")
    sql("create or replace temp table expected as select * from expected where n not in (from done_e)")

# Lines that need no expectation.
explained = "(kind = 'fee' and abs(gross) <= 5000) or kind in ('payout', 'reserve_hold', 'reserve_release')"
sql("insert into open_line select id from line where not ({explained})", explained=explained)
sql("insert into open_expected select id from expected")
sql("copy groups to '{file}' (header)", file=out / "groups.csv")
sql("copy (select 'open_line' \"is\", id from open_line union all select 'open_expected', id from open_expected) to '{file}' (header)", file=out / "open.csv")
print(db.execute("select count(*) from groups").fetchone()[0], "groups")
