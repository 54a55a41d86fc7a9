//! A sweep over several merchant ids: one after another, and then again where a page could not be read.

use tillway_core::time::Timestamp;

use super::routes::{At, all};
use super::sweep::pages;
use crate::port::{Call, NotDone, SweepPage};

/// Begins the cursor of a second round, over what could not be read in the first.
const AGAIN: char = '~';
/// Stands before each place that could not be read and is left for the second round.
const LEFT: char = '!';
/// Marks a place that could not be read in the second round either.
const TRIED: char = '*';

/// Where a sweep over several merchant ids is: an id and, behind a bar, the place there; and what it left for later. A page
/// that cannot be read costs neither the pages before it nor the other ids.
struct Tour<'a> {
    again: bool,
    at: &'a str,
    left: Vec<String>,
}

impl<'a> Tour<'a> {
    /// `None`: no cursor of this kind.
    fn of(cursor: &'a str) -> Option<Self> {
        let again = cursor.strip_prefix(AGAIN);
        let mut places = again.unwrap_or(cursor).split(LEFT);
        let at = places.next().filter(|at| at.contains('|'))?;
        Some(Self { again: again.is_some(), at, left: places.map(str::to_owned).collect() })
    }

    /// Whether what cannot be read now is told: all was tried a second time.
    fn is_over(&self) -> bool {
        self.again && (self.at.starts_with(TRIED) || self.left.is_empty())
    }

    /// The id and the place there; none stands for its beginning.
    fn place(&self) -> (&'a str, Option<&'a str>) {
        let at = self.at.strip_prefix(TRIED).unwrap_or(self.at);
        let (id, place) = at.split_once('|').unwrap_or((at, ""));
        (id, Some(place).filter(|place| !place.is_empty()))
    }

    /// Leaves this place for later.
    fn leave(&mut self) {
        let place = if self.again { format!("{TRIED}{}", self.at) } else { self.at.to_owned() };
        self.left.push(place);
    }

    /// The cursor at another place.
    fn cursor(&self, again: bool, at: &str) -> String {
        let mut out = if again { AGAIN.to_string() } else { String::new() };
        out.push_str(at);
        for place in &self.left {
            out.push(LEFT);
            out.push_str(place);
        }
        out
    }

    /// The cursor of what comes after this id, where `next` is the one that follows; then what was left.
    fn after(mut self, next: Option<&str>) -> Option<String> {
        if let Some(next) = next.filter(|_| !self.again) {
            return Some(self.cursor(false, &format!("{next}|")));
        }
        if self.left.is_empty() {
            return None;
        }
        let first = self.left.remove(0);
        Some(self.cursor(true, &first))
    }
}

/// One page: all of one merchant id, then of the next. One that cannot be read keeps none of the others from being looked at;
/// it is asked again when they are through, at the page that failed, and only then the sweep fails, to go on there.
pub(super) async fn sweep(
    call: &Call<'_>,
    since: Timestamp,
    cursor: Option<&str>,
) -> Result<SweepPage, NotDone> {
    let ids = all(call.connection);
    let Some(first) = ids.first() else { return pages(call, since, cursor).await };
    let start = format!("{first}|");
    // Of an older version, which knew no places to go on at: the window is begun anew.
    let Some(mut tour) = Tour::of(cursor.unwrap_or(&start)) else { return Err(NotDone::Unavailable) };
    let (id, place) = tour.place();
    let at = ids.iter().position(|known| known == id);
    let page = match at {
        Some(_) => {
            let at = At::of(call, id);
            pages(&at.call(call), since, place).await
        }
        // One that was taken out of the configuration meanwhile has no page.
        None => Ok(SweepPage { events: Vec::new(), next: None }),
    };
    let following = ids.get(at.map_or(0, |at| at.saturating_add(1))).map(String::as_str);
    match page {
        Ok(SweepPage { events, next: Some(place) }) => {
            let next = tour.cursor(tour.again, &format!("{id}|{place}"));
            Ok(SweepPage { events, next: Some(next) })
        }
        Ok(SweepPage { events, next: None }) => Ok(SweepPage { events, next: tour.after(following) }),
        Err(why) if tour.is_over() => Err(why),
        Err(_) => {
            tour.leave();
            Ok(SweepPage { events: Vec::new(), next: tour.after(following) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_through_all_ids_and_then_to_what_it_left_where_it_left_it() {
        let after = |cursor: &str, fails: bool, next: Option<&str>| {
            let mut tour = Tour::of(cursor).unwrap();
            if fails {
                assert!(!tour.is_over(), "{cursor}");
                tour.leave();
            }
            tour.after(next)
        };
        for (cursor, fails, next, expected) in [
            ("a|s:20", false, Some("b"), Some("b|")),
            ("a|s:20", true, Some("b"), Some("b|!a|s:20")),
            ("b|!a|s:20", true, Some("c"), Some("c|!a|s:20!b|")),
            ("c|!a|s:20!b|", false, None, Some("~a|s:20!b|")),
            // Whatever follows in the list was looked at in the first round.
            ("~a|s:20!b|", false, Some("b"), Some("~b|")),
            ("~a|s:20!b|", true, Some("b"), Some("~b|!*a|s:20")),
            ("~b|!*a|s:20", true, Some("c"), Some("~*a|s:20!*b|")),
            ("~b|", false, Some("c"), None),
            ("c|", false, None, None),
        ] {
            assert_eq!(after(cursor, fails, next).as_deref(), expected, "{cursor} {fails}");
        }
        for over in ["~a|s:20", "~*a|s:20!*b|"] {
            assert!(Tour::of(over).unwrap().is_over(), "{over}");
        }
        let tour = Tour::of("~*a|s:20!b|").unwrap();
        assert_eq!((tour.place(), tour.cursor(true, "a|s:30")), (("a", Some("s:20")), "~a|s:30!b|".into()));
        // What an older version left off with.
        assert!(Tour::of("!a|s:0").is_none() && Tour::of("!|").is_none());
    }
}
