//! The Payment Batch Detail report as XML, as its document type 1.2 has it:
//! `Report/Batches/Batch/Requests/Request`. Its last tag shows that all of it came.

use std::io::Read;

use tillway_core::settle::{Day, SettlementLine};

use super::settlement_detail::{self as detail, Asked, Detail, Signs};
use crate::config::Connection;
use crate::settlement::source::Seen;
use crate::settlement::xml::{Tag, Xml};
use crate::settlement::{Ending, FileFault, Lines, Reader, Unfamiliar, Whole, values};

/// A batch's id and day.
struct OpenBatch {
    id: String,
    day: Day,
}

/// A request on its way in.
#[derive(Default)]
struct Request {
    id: String,
    code: String,
    currency: String,
    amount: String,
    applications: String,
    line: u64,
}

/// The report, tag by tag.
pub struct BatchDetailXml<R> {
    xml: Xml<R>,
    connection: Connection,
    asked: Asked,
    signs: Signs,
    batch: Option<OpenBatch>,
    request: Option<Request>,
    begun: bool,
    done: bool,
    unfamiliar: Unfamiliar,
    at: u64,
}

/// Opens a report.
///
/// # Errors
/// None yet: the first tag is read with the first line.
pub fn read<R: Read>(
    connection: &Connection,
    asked: Asked,
    bytes: R,
) -> Result<Reader<BatchDetailXml<R>>, FileFault> {
    Ok(Reader::new(BatchDetailXml {
        xml: Xml::new(bytes),
        connection: connection.clone(),
        asked,
        signs: Signs::default(),
        batch: None,
        request: None,
        begun: false,
        done: false,
        unfamiliar: Unfamiliar::default(),
        at: 1,
    }))
}

impl<R: Read> BatchDetailXml<R> {
    fn begin(&mut self, tag: &Tag, name: &str) -> Result<(), FileFault> {
        match name {
            _ if !self.begun => {
                self.begun = true;
                if name != "Report" {
                    let what = "is no `Report`; fetch the Payment Batch Detail report";
                    return Err(FileFault::new("unknown_header", "root", what));
                }
                self.asked.merchant("MerchantID", tag.attribute("MerchantID"))?;
                self.asked.ends("ReportEndDate", tag.attribute("ReportEndDate"))?;
            }
            "Batch" => {
                let id = tag.attribute("BatchID");
                if id.is_empty() {
                    return Err(FileFault::no_id("BatchID"));
                }
                values::id("BatchID", id)?;
                let day = values::needed_day("BatchDate", tag.attribute("BatchDate"))?;
                self.asked.batched("BatchDate", day, detail::TOLD)?;
                self.batch = Some(OpenBatch { id: id.to_owned(), day });
            }
            "Request" => {
                if self.batch.is_none() {
                    let what = "stands in no `Batch`; fetch the Payment Batch Detail report, version 1.2";
                    return Err(FileFault::new("unknown_header", "Request", what));
                }
                let id = tag.attribute("RequestID");
                if id.is_empty() {
                    return Err(FileFault::no_id("RequestID"));
                }
                self.request = Some(Request {
                    id: id.to_owned(),
                    code: tag.attribute("MerchantReferenceNumber").to_owned(),
                    line: self.xml.line(),
                    ..Request::default()
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str, text: String) -> Result<Option<SettlementLine>, FileFault> {
        // Not what stands deeper, such as the amounts of line items.
        let within = self.xml.path().next_back() == Some("Request");
        let field = self.request.as_mut().filter(|_| within).and_then(|request| match name {
            "CurrencyCode" => Some(&mut request.currency),
            "Amount" => Some(&mut request.amount),
            "Application" => Some(&mut request.applications),
            _ => None,
        });
        if let Some(field) = field {
            if name == "Application" && !field.is_empty() {
                field.push(',');
                field.push_str(&text);
                return Ok(None);
            }
            if !field.is_empty() {
                return Err(FileFault::new(
                    "duplicate_header",
                    name,
                    "stands twice in a request; fetch it again",
                ));
            }
            *field = text;
            return Ok(None);
        }
        match name {
            "Batch" => self.batch = None,
            "Request" => {
                let (Some(request), Some(batch)) = (self.request.take(), &self.batch) else {
                    return Ok(None);
                };
                self.at = request.line;
                let row = Detail {
                    batch: &batch.id,
                    request: &request.id,
                    code: &request.code,
                    currency: &request.currency,
                    amount: &request.amount,
                    applications: &request.applications,
                    link: "",
                    status: "",
                    day: batch.day,
                    names: ["RequestID", "CurrencyCode", "Amount", "Application"],
                };
                let (line, _) = detail::line(&self.connection, &self.asked, &mut self.signs, &row)
                    .map_err(|f| f.at(request.line))?;
                return Ok(Some(line));
            }
            _ => {}
        }
        Ok(None)
    }
}

impl<R: Read> Lines for BatchDetailXml<R> {
    fn line(&mut self) -> Result<Option<SettlementLine>, FileFault> {
        while let Some(tag) = self.xml.tag()? {
            let line = self.xml.line();
            match tag {
                Tag::Start { ref name, .. } => self.begin(&tag, name).map_err(|f| f.at(line))?,
                Tag::End { name, text } => {
                    if let Some(found) = self.end(&name, text).map_err(|f| f.at(line))? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        self.done = true;
        Ok(None)
    }
    fn at(&self) -> u64 {
        self.at
    }
}

impl<R: Read> Whole for BatchDetailXml<R> {
    fn seen(&self) -> Seen {
        self.xml.seen()
    }
    fn ending(&self) -> Ending {
        if self.done { Ending::Closed } else { Ending::Open }
    }
    fn unfamiliar(&self) -> &Unfamiliar {
        &self.unfamiliar
    }
}
