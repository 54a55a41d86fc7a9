use tillway_simulator::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |n: usize, d: &str| a.get(n).cloned().unwrap_or(d.into());
    let mut o = Options { seed: get(1, "1").parse().unwrap(), orders: get(2, "200").parse().unwrap(), ..Options::default() };
    o.faults = match get(3, "heavy").as_str() { "none" => FaultLevel::None, "light" => FaultLevel::Light, _ => FaultLevel::Heavy };
    let bug = get(4, "-");
    o.bug = tillway_engine::bugs::Bug::ALL.into_iter().find(|b| format!("{b:?}") == bug);
    assert!(bug == "-" || o.bug.is_some());
    o.stop_at_first = get(5, "stop") == "stop";
    if get(7, "2") == "1" { o.threads = 1; }
    let t = std::time::Instant::now();
    let out = run(&o, &mut |_| {});
    let e = t.elapsed();
    println!("{out}");
    println!("polls {} digest {} | {:?} {:.0} orders/s", out.polls, out.digest, e, out.orders as f64 / e.as_secs_f64());
    println!("missed {:?}", out.crash_points_missed());
    let mut kinds = std::collections::BTreeMap::new();
    for v in &out.violations { let w: String = v.what.chars().filter(|c| !c.is_ascii_digit()).take(60).collect(); let e = kinds.entry(w).or_insert((0, v.clone())); e.0 += 1; }
    for (k, (n, v)) in kinds { println!("{n:>5} {k} e.g. {v}"); }
    if get(6, "-") == "counted" { for (k, n) in &out.counted { println!("{n:>8} {k}"); } }
    if get(6, "-") == "history" { let n: usize = get(8, "0").parse().unwrap(); if let Some(v) = out.violations.get(n) { println!("{v}\n{}", history(&o, v)); } }
    if get(6, "-") == "all" { let n: usize = get(8, "0").parse().unwrap(); if let Some(v) = out.violations.get(n) { let mut v = v.clone(); v.order = None; println!("{v}\n{}", history(&o, &v)); } }
    if get(6, "-") == "shrink" && !out.violations.is_empty() { println!("{}", shrink(&o, &out)); }
}
