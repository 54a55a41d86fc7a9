#!/usr/bin/env python3
"""The tiers of tillway_core::settle in pandas, over the files of `settle-bench make`. Usage: panda.py DATA OUT

Simplified as duck.py is: pairs that compete are taken where they are each other's only cheapest, in rounds; a sum is that of everything linked
in the bucket; exceptions are left at "open"."""
import pathlib
import sys

import numpy as np
import pandas as pd

data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
TEXT = "string[pyarrow]"


def once(frame: pd.DataFrame) -> pd.DataFrame:
    """Every id once, the least by content. Only ids that come twice are sorted."""
    twice = frame[frame["id"].duplicated(keep=False)]
    copies = twice.sort_values(list(frame.columns)).duplicated("id")
    return frame.drop(copies.index[copies])


def read(file: str, numbers: list[str], leave: list[str]) -> pd.DataFrame:
    head = pd.read_csv(data / file, nrows=0).columns
    types = {c: "Int64" if c in numbers else TEXT for c in head}
    frame = pd.read_csv(data / file, engine="pyarrow", dtype=types)
    return once(frame).drop(columns=leave).reset_index(drop=True)


line = read("lines.csv", ["gross", "fee", "fee_tax", "net", "shown", "day"], ["batch", "fee", "fee_tax", "net"])
line["tender"] = line["shown"].fillna(line["gross"]).astype("int64")
line["tender_currency"] = line["shown_currency"].fillna(line["currency"])
line = line.astype({"gross": "int64", "day": "int64"}).assign(bound=False)
expected = read("expected.csv", ["amount", "booked_fee", "due"], ["booked_fee", "order"])
expected = expected[expected["standing"] != "explained"].reset_index(drop=True)
expected = expected.astype({"amount": "int64", "due": "int64"}).assign(bound=False, unknown=expected["standing"] == "unknown")
line["n"], expected["n"] = line.index, expected.index
LINES, EXPECTED = line["id"], expected["id"]
CURRENCY = expected["currency"]
groups: list[pd.DataFrame] = []
opened: list[pd.DataFrame] = []


def yes(condition: pd.Series) -> np.ndarray:
    """A comparison with what is missing is no."""
    return condition.fillna(False).to_numpy(dtype=bool)


def apart(p: pd.DataFrame) -> np.ndarray:
    """Both name an object of their own, and neither is named by the other."""
    named = yes(p["parent_l"] == p["own_e"]) | yes(p["payment_l"] == p["own_e"]) | yes(p["parent_e"] == p["own_l"])
    return yes(p["own_l"] != p["own_e"]) & ~named & ~yes(p["payment_e"] == p["own_l"])


def differ(p: pd.DataFrame) -> np.ndarray:
    return np.logical_or.reduce([yes(p[f"{c}_l"] != p[f"{c}_e"]) for c in ("reference", "payment", "brand", "last4")])


class Tier:
    """One tier at work on the open items. `pair` holds every line and expectation that share a key."""

    def __init__(self, name: str, key_l: list[str], key_e: list[str], early: int, late: int, l: pd.DataFrame, e: pd.DataFrame):
        self.name = name
        self.identity = name in ("own_id", "parent_id", "payment_id", "reference")
        self.l, self.e = l, e
        left, right = l.add_suffix("_l"), e.add_suffix("_e")
        left, right = left.dropna(subset=[f"{k}_l" for k in key_l]), right.dropna(subset=[f"{k}_e" for k in key_e])
        p = left.merge(right, left_on=[f"{k}_l" for k in key_l], right_on=[f"{k}_e" for k in key_e])
        away = (p["day_l"] - p["due_e"]).to_numpy()
        p["same"] = yes(p["kind_l"] == p["kind_e"])
        settled, presented = yes(p["currency_l"] == p["currency_e"]), yes(p["shown_currency_l"] == p["currency_e"])
        p["known"] = settled | presented
        p["amt"] = np.where(settled, p["gross_l"], p["tender_l"])
        p["cost"] = away * away + np.where(p["unknown_e"], 1 << 40, 0)
        p["apart"] = apart(p)
        against = np.zeros(len(p), dtype=bool) if name == "own_id" else p["apart"].to_numpy()
        if not self.identity:
            against = against | differ(p)
        p["linked"] = (away >= -early) & (away <= late) & ~against
        keep = ["n_l", "n_e", "same", "known", "amt", "amount_e", "cost", "linked", "apart", "kind_l", "tender_l", "tender_currency_l", "own_l", "parent_l", "payment_l"]
        self.pair = p[keep]
        self.free = self.pair
        self.matched = [np.array([], dtype=np.int64)]
        self.held_l, self.held_e = [np.array([], dtype=np.int64)], [np.array([], dtype=np.int64)]
        self.done_l, self.done_e = np.zeros(len(LINES), dtype=bool), np.zeros(len(EXPECTED), dtype=bool)

    def done(self, l: np.ndarray, e: np.ndarray) -> None:
        self.done_l[l], self.done_e[e] = True, True
        self.free = self.free[~self.done_l[self.free["n_l"]] & ~self.done_e[self.free["n_e"]]]

    def hold(self, l: np.ndarray, e: np.ndarray) -> None:
        self.held_l.append(np.unique(l))
        self.held_e.append(np.unique(e))
        self.done(l, e)

    def take(self, frame: pd.DataFrame, tolerance: str = "") -> None:
        """Pairs, one row each."""
        groups.append(
            pd.DataFrame(
                {
                    "tier": self.name,
                    "currency": CURRENCY.iloc[frame["n_e"]].array,
                    "lines_sum": frame["amt"].array,
                    "expected_sum": frame["amount_e"].array,
                    "tolerance": tolerance,
                    "lines": LINES.iloc[frame["n_l"]].array,
                    "expected": EXPECTED.iloc[frame["n_e"]].array,
                }
            )
        )
        self.matched.append(frame["n_l"].to_numpy())
        self.done(frame["n_l"].to_numpy(), frame["n_e"].to_numpy())

    def choose(self, option: pd.DataFrame, tolerance: str = "") -> None:
        """Those alone with each other, then in rounds those that are each other's only cheapest; the rest is held."""
        many = option["n_l"].duplicated(keep=False) | option["n_e"].duplicated(keep=False)
        taken, hard = [option[~many]], option[many]
        while len(hard):
            best = np.ones(len(hard), dtype=bool)
            for side in ("n_l", "n_e"):
                best &= (hard["cost"] == hard.groupby(side)["cost"].transform("min")).to_numpy()
                best &= ~hard.duplicated([side, "cost"], keep=False).to_numpy()
            if not best.any():
                break
            taken.append(hard[best])
            hard = hard[~hard["n_l"].isin(hard["n_l"][best]) & ~hard["n_e"].isin(hard["n_e"][best])]
        self.take(pd.concat(taken), tolerance)
        self.hold(hard["n_l"].to_numpy(), hard["n_e"].to_numpy())

    def sums(self, one: str, many: str, target: str, part: str) -> None:
        """One item for all that is linked with it."""
        linked = self.free[self.free["linked"] & self.free["known"]]
        linked = linked[linked[one].duplicated(keep=False)]
        by = linked.groupby(one)
        fits = by[part].sum() == by[target].min()
        member = linked[linked[one].isin(fits.index[fits])]
        crossed = member[member[many].duplicated(keep=False)]
        member = member[~member[one].isin(crossed[one])]
        if len(member) == 0:
            return
        ids = LINES if many == "n_l" else EXPECTED
        sorted_ = member.assign(id=ids.iloc[member[many]].to_numpy()).sort_values([one, "id"])
        by = sorted_.groupby(one)
        text, first = by["id"].agg(" ".join), by.first()
        single = (EXPECTED if one == "n_e" else LINES).iloc[first.index].array
        total = by[part].sum().array
        groups.append(
            pd.DataFrame(
                {
                    "tier": self.name,
                    "currency": CURRENCY.iloc[first.index if one == "n_e" else first["n_e"]].array,
                    "lines_sum": total if one == "n_e" else first["amt"].array,
                    "expected_sum": total if one == "n_l" else first["amount_e"].array,
                    "tolerance": "",
                    "lines": text.array if one == "n_e" else single,
                    "expected": text.array if one == "n_l" else single,
                }
            )
        )
        self.matched.append(member["n_l"].to_numpy())
        self.done(member["n_l"].to_numpy(), member["n_e"].to_numpy())

    def duplicates(self) -> None:
        """What settles again what was matched in its bucket."""
        matched = np.zeros(len(LINES), dtype=bool)
        matched[np.concatenate(self.matched)] = True
        p = self.pair
        left = p[~self.done_l[p["n_l"]] & p["n_e"].isin(p["n_e"][matched[p["n_l"]]])]
        right = p[matched[p["n_l"]] & p["n_e"].isin(left["n_e"])]
        both = left.merge(right, on="n_e", suffixes=("", "_m"))
        same = (both["kind_l"] == both["kind_l_m"]) & (both["tender_l"] == both["tender_l_m"]) & (both["tender_currency_l"] == both["tender_currency_l_m"])
        both = both[yes(same)]
        names = {f"{c}_l_m": f"{c}_e" for c in ("own", "parent", "payment")}
        both = both[~apart(both.rename(columns=names))]
        self.hold(both["n_l"].to_numpy(), np.array([], dtype=np.int64))

    def together(self) -> None:
        """Several lines that only together equal several expectations."""
        b = self.free.assign(root=self.free.groupby("n_l")["n_e"].transform("min"))
        by = b.groupby("root")
        cl, ce, c = by["n_l"].nunique(), by["n_e"].nunique(), by.size()
        whole = (cl > 1) & (ce > 1) & (c == cl * ce) & by["linked"].all() & by["known"].all()
        whole &= (by["amt"].sum() / ce) == (by["amount_e"].sum() / cl)
        b = b[b["root"].isin(whole.index[whole])]
        self.hold(b["n_l"].to_numpy(), b["n_e"].to_numpy())

    def run(self) -> None:
        fits = self.free["same"] & self.free["known"] & self.free["linked"]
        self.choose(self.free[fits & (self.free["amt"] == self.free["amount_e"])])
        if self.name != "amount":
            self.sums("n_l", "n_e", "amt", "amount_e")
            self.sums("n_e", "n_l", "amount_e", "amt")
            near = (self.free["amt"] - self.free["amount_e"]).abs().between(1, 2) & self.free["kind_l"].isin(["charge", "refund"])
            self.choose(self.free[self.free["same"] & self.free["known"] & self.free["linked"] & near], "rounding")
        if self.identity:
            self.duplicates()
            self.together()


def keep(frame: pd.DataFrame, done: np.ndarray) -> pd.DataFrame:
    return frame[~done[frame["n"]]]


for name, early, late in (("own_id", 30, 400), ("parent_id", 30, 400), ("payment_id", 30, 400), ("reference", 7, 60), ("card", 1, 4), ("amount", 1, 4)):
    l, e = line, expected
    if name in ("parent_id", "payment_id"):
        e = e[~(e["unknown"] & (e["kind"] != "charge"))]
    elif name != "own_id":
        l, e = l[~l["bound"]], e[~e["bound"]]
    if name == "own_id":
        key_l = key_e = ["own"]
    elif name == "parent_id":
        l, e = (f.assign(key=f["parent"].fillna(f["own"])) for f in (l, e))
        key_l = key_e = ["key"]
    elif name == "payment_id":
        l, e = (f.assign(key=f["payment"].fillna(f["parent"]).fillna(f["own"])) for f in (l, e))
        key_l = key_e = ["key"]
    elif name == "reference":
        key_l = key_e = ["reference"]
    else:
        e = e[~e["unknown"]]
        last = ["brand", "last4"] if name == "card" else None
        key_l = ["tender_currency", "kind"] + (last or ["tender"])
        key_e = ["currency", "kind"] + (last or ["amount"])
    tier = Tier(name, key_l, key_e, early, late, l, e)
    tier.run()
    if name == "own_id":
        bound = tier.free[tier.free["same"]]
        line.loc[line["n"].isin(bound["n_l"]), "bound"] = True
        expected.loc[expected["n"].isin(bound["n_e"]), "bound"] = True
    opened.append(pd.DataFrame({"is": "open_line", "id": LINES.iloc[np.concatenate(tier.held_l)]}))
    opened.append(pd.DataFrame({"is": "open_expected", "id": EXPECTED.iloc[np.concatenate(tier.held_e)]}))
    line, expected = keep(line, tier.done_l), keep(expected, tier.done_e)

explained = ((line["kind"] == "fee") & (line["gross"].abs() <= 5000)) | line["kind"].isin(["payout", "reserve_hold", "reserve_release"])
opened.append(pd.DataFrame({"is": "open_line", "id": line["id"][~yes(explained)]}))
opened.append(pd.DataFrame({"is": "open_expected", "id": expected["id"]}))
pd.concat(groups).to_csv(out / "groups.csv", index=False)
pd.concat(opened).to_csv(out / "open.csv", index=False)
print(sum(len(g) for g in groups), "groups")
