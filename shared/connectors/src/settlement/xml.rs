//! XML, tag by tag: names without prefixes, texts with their references resolved, a bound on depth and on every text.
//! Document types are skipped and nothing is fetched; entities but XML's own five are refused.

use std::io::Read;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader as Parser, XmlVersion};

use super::fault::FileFault;
use super::source::{Seen, Source};

/// Deepest nesting.
const MAX_DEPTH: usize = 40;
/// Longest text of one element.
const MAX_TEXT: usize = 8 * 1024;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// An element begins: its name and attributes.
    Start { name: String, attributes: Vec<(String, String)> },
    /// It ends: its name and the text directly in it, trimmed.
    End { name: String, text: String },
}

impl Tag {
    /// An attribute's value, trimmed; empty where there is none.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        match self {
            Self::Start { attributes, .. } => {
                attributes.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.trim())
            }
            Self::End { .. } => "",
        }
    }
}

/// A document on its way in.
pub(crate) struct Xml<R> {
    parser: Parser<Source<R>>,
    buffer: Vec<u8>,
    /// Open elements with the text in them so far.
    open: Vec<(String, String)>,
    /// The end of an empty element.
    empty: bool,
    root_done: bool,
    line: u64,
}

impl<R: Read> Xml<R> {
    pub(crate) fn new(inner: R) -> Self {
        let mut parser = Parser::from_reader(Source::new(inner));
        parser.config_mut().check_end_names = true;
        Self { parser, buffer: Vec::new(), open: Vec::new(), empty: false, root_done: false, line: 1 }
    }
    /// Line the last tag began in.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }
    pub(crate) fn seen(&self) -> Seen {
        self.parser.get_ref().seen()
    }
    /// Names of the open elements, outermost first.
    pub(crate) fn path(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.open.iter().map(|(name, _)| name.as_str())
    }

    /// The next tag; nothing after the root was closed and the file is at its end.
    ///
    /// # Errors
    /// `empty`, `truncated`, `not_xml`, `duplicate_header`, `too_long`.
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, FileFault> {
        loop {
            if self.empty {
                self.empty = false;
                return self.close().map(Some);
            }
            self.parser.get_mut().allow();
            self.buffer.clear();
            self.line = self.parser.get_ref().line();
            let event = match self.parser.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => return Err(self.broken(&error).at(self.line)),
            };
            match event {
                Event::Start(start) => {
                    let tag = tag_of(&start).map_err(|f| f.at(self.line))?;
                    return self.begin(tag, false).map(Some);
                }
                Event::Empty(start) => {
                    let tag = tag_of(&start).map_err(|f| f.at(self.line))?;
                    return self.begin(tag, true).map(Some);
                }
                Event::End(_) => return self.close().map(Some),
                Event::Text(text) => {
                    let text = text.xml10_content().into_owned();
                    self.append(&text)?;
                }
                Event::CData(text) => {
                    let text = text.xml10_content().into_owned();
                    self.append(&text)?;
                }
                Event::GeneralRef(reference) => {
                    let plain = match reference.as_ref() {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "apos" => Some('\''),
                        "quot" => Some('"'),
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    let Some(plain) = plain else {
                        let what = "an entity that XML itself does not know; have the file made anew";
                        return Err(FileFault::of_file("not_xml", what).at(self.line));
                    };
                    self.append(plain.encode_utf8(&mut [0; 4]))?;
                }
                Event::Eof => return self.ended(),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    fn ended(&self) -> Result<Option<Tag>, FileFault> {
        match (self.open.last(), self.root_done) {
            (Some((name, _)), _) => {
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
                Err(FileFault::cut(&format!("ends within <{name}>")).at(self.line))
            }
            (None, true) => Ok(None),
            (None, false) => {
                Err(FileFault::of_file("empty", "holds no element, not even the first; fetch it again"))
            }
        }
    }

    fn begin(&mut self, tag: Tag, empty: bool) -> Result<Tag, FileFault> {
        if self.root_done {
            return Err(FileFault::doubled("root", "a second document follows the first").at(self.line));
        }
        if self.open.len() >= MAX_DEPTH {
            let what = format!("nested deeper than {MAX_DEPTH} levels: this is no such file");
            return Err(FileFault::of_file("not_xml", what).at(self.line));
        }
        if let Tag::Start { name, .. } = &tag {
            self.open.push((name.clone(), String::new()));
        }
        self.empty = empty;
        Ok(tag)
    }

    fn close(&mut self) -> Result<Tag, FileFault> {
        let Some((name, text)) = self.open.pop() else {
            return Err(FileFault::of_file("not_xml", "an element ends that did not begin").at(self.line));
        };
        self.root_done = self.open.is_empty();
        Ok(Tag::End { name, text: text.trim().to_owned() })
    }

    fn append(&mut self, more: &str) -> Result<(), FileFault> {
        let Some((_, text)) = self.open.last_mut() else {
            if more.trim().is_empty() {
                return Ok(());
            }
            return Err(FileFault::of_file("not_xml", "text stands outside the document").at(self.line));
        };
        if text.len().saturating_add(more.len()) > MAX_TEXT {
            let what =
                format!("the text of one element has more than {MAX_TEXT} bytes: this is no such file");
            return Err(FileFault::of_file("too_long", what).at(self.line));
        }
        text.push_str(more);
        Ok(())
    }

    fn broken(&self, error: &quick_xml::Error) -> FileFault {
        if let Some(trouble) = self.parser.get_ref().trouble() {
            return FileFault::trouble(trouble);
        }
        match error {
            quick_xml::Error::Syntax(_) => FileFault::cut("ends within a tag"),
            quick_xml::Error::Encoding(_) => FileFault::encoding("file"),
            _ => FileFault::of_file("not_xml", "is not well-formed XML; fetch it again"),
        }
    }
}

fn tag_of(start: &BytesStart<'_>) -> Result<Tag, FileFault> {
    let broken = || FileFault::of_file("not_xml", "an attribute is not well-formed; fetch it again");
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| broken())?;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| broken())?;
        attributes.push((local(attribute.key.as_ref()), value.into_owned()));
    }
    Ok(Tag::Start { name: local(start.name().as_ref()), attributes })
}

/// A name without its prefix.
fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_owned()
}
