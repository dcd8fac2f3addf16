//! Import of virtual numbers from a CSV file. An import adds all numbers or none, and reports each rejected line
//! with its rule.

use std::collections::HashMap;

use call::PhoneNumber;
use csv::{ReaderBuilder, StringRecord, Trim};

use crate::store::{
    ImportError, NewNumber, NumberError, NumberMode, OperatorStore, StoreError, TenantId, Timestamp,
};

/// Maximum number of lines, without the header.
pub const MAX_LINES: usize = 100_000;
/// Maximum size of a file, in bytes.
pub const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;
/// Columns. Only the first is required.
pub(crate) const COLUMNS: [&str; 4] = ["virtual_number", "mode", "pin_length", "max_active"];
/// Numbers per lookup.
const CHUNK: usize = 1000;

/// Rejected line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RejectedLine {
    /// Line number in the file. The header is line 1.
    pub line: u64,
    /// Column at fault; empty if the whole line is at fault.
    pub field: &'static str,
    /// Kind of fault.
    pub fault: LineFault,
    /// Rule in words, for people.
    pub message: String,
}

/// Kind of fault of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LineFault {
    /// The number of fields differs from the header.
    FieldCount,
    /// The number is missing.
    Missing,
    /// The number is not in E.164 form.
    NotE164,
    /// The value is not allowed.
    InvalidValue,
    /// The value is outside its range.
    OutOfRange,
    /// An earlier line has the same number.
    Repeated,
    /// The number is already in a pool.
    NumberExists,
}

/// Error of a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The file is not valid UTF-8.
    #[error("the file must be UTF-8")]
    NotUtf8,
    /// The header is invalid.
    #[error(
        "the header must contain virtual_number and may contain mode, pin_length and max_active, each once: {0}"
    )]
    Header(String),
    /// The file has no numbers.
    #[error("the file contains no numbers")]
    Empty,
    /// The file exceeds [`MAX_LINES`].
    #[error("the file must have at most {MAX_LINES} numbers")]
    TooLong,
}

/// Parsed file: valid numbers with their lines, and rejected lines.
#[derive(Debug, Clone)]
pub(crate) struct NumberFile {
    numbers: Vec<(u64, NewNumber)>,
    refused: Vec<RejectedLine>,
}

/// Result of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportSummary {
    /// Number of lines, without the header.
    pub lines: usize,
    /// Number of numbers added: all or 0.
    pub added: usize,
    /// Rejected lines, in order.
    pub refused: Vec<RejectedLine>,
}

impl LineFault {
    /// Returns the API error code of the fault.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::FieldCount => "invalid_csv",
            Self::Missing => "required",
            Self::NotE164 => "not_e164",
            Self::InvalidValue => "invalid_value",
            Self::OutOfRange => "out_of_range",
            Self::Repeated => "repeated",
            Self::NumberExists => "number_exists",
        }
    }
}

impl NumberFile {
    /// Parses a file: comma-separated (RFC 4180), UTF-8 with an optional byte order mark, with a header on the
    /// first line.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, FileError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotUtf8)?;
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let header = reader.headers().map_err(|_| FileError::NotUtf8)?;
        let columns = CsvColumns::from_header(header)?;
        let mut file = Self {
            numbers: Vec::new(),
            refused: Vec::new(),
        };
        let mut earlier_lines = HashMap::new();
        for (index, record) in reader.records().enumerate() {
            if index >= MAX_LINES {
                return Err(FileError::TooLong);
            }
            let record = record.map_err(|_| FileError::NotUtf8)?;
            let line = record.position().map_or(0, csv::Position::line);
            file.add_line(line, columns.number(line, &record), &mut earlier_lines);
        }
        if file.lines() == 0 {
            Err(FileError::Empty)
        } else {
            Ok(file)
        }
    }

    /// Returns the number of lines, without the header.
    pub(crate) fn lines(&self) -> usize {
        self.numbers.len() + self.refused.len()
    }

    fn add_line(
        &mut self,
        line: u64,
        read: Result<NewNumber, RejectedLine>,
        earlier_lines: &mut HashMap<PhoneNumber, u64>,
    ) {
        match read {
            Err(refused) => self.refused.push(refused),
            Ok(new) => match earlier_lines.insert(new.virtual_number, line) {
                Some(earlier) => {
                    let message = format!("is already on line {earlier}");
                    self.refused
                        .push(reject(line, COLUMNS[0], LineFault::Repeated, message));
                    earlier_lines.insert(new.virtual_number, earlier);
                }
                None => self.numbers.push((line, new)),
            },
        }
    }

    /// Adds all numbers to a tenant's pool, or none if any line is at fault. `dry_run` only checks the file.
    /// `looked_up` receives the size of each completed lookup.
    pub(crate) async fn import(
        mut self,
        store: &OperatorStore,
        tenant: &TenantId,
        dry_run: bool,
        now: Timestamp,
        looked_up: impl Fn(usize),
    ) -> Result<ImportSummary, ImportError> {
        if !store.tenant_takes_numbers(tenant).await? {
            return Err(ImportError::NoSuchTenant);
        }
        let existing = self.find_existing(store, looked_up).await?;
        let lines = self.lines();
        self.reject_existing(&existing);
        let mut added = 0;
        if self.refused.is_empty() && !dry_run {
            let new: Vec<NewNumber> = self.numbers.iter().map(|(_, new)| new.clone()).collect();
            match store.import_numbers(tenant.clone(), new, now).await {
                Ok(()) => added = self.numbers.len(),
                Err(ImportError::Taken) => {
                    // Another operator has added numbers of the file since the lookup.
                    let existing = self.find_existing(store, |_| {}).await?;
                    self.reject_existing(&existing);
                    if self.refused.is_empty() {
                        return Err(ImportError::Taken);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.refused.sort_by_key(|refused| refused.line);
        Ok(ImportSummary {
            lines,
            added,
            refused: self.refused,
        })
    }

    async fn find_existing(
        &self,
        store: &OperatorStore,
        looked_up: impl Fn(usize),
    ) -> Result<Vec<usize>, StoreError> {
        let mut existing = Vec::new();
        for (chunk, offset) in self.numbers.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            let numbers = chunk.iter().map(|(_, new)| new.virtual_number).collect();
            existing.extend(
                store
                    .taken(numbers)
                    .await?
                    .into_iter()
                    .map(|position| offset + position),
            );
            looked_up(chunk.len());
        }
        Ok(existing)
    }

    fn reject_existing(&mut self, existing: &[usize]) {
        let lines = existing
            .iter()
            .filter_map(|position| self.numbers.get(*position))
            .map(|(line, _)| *line);
        let refused = |line| {
            reject(
                line,
                COLUMNS[0],
                LineFault::NumberExists,
                "is already in a pool",
            )
        };
        self.refused.extend(lines.map(refused));
    }
}

/// Positions of the columns.
struct CsvColumns {
    indexes: [Option<usize>; 4],
    count: usize,
}

impl CsvColumns {
    fn from_header(header: &StringRecord) -> Result<Self, FileError> {
        let mut indexes = [None; 4];
        for (index, name) in header.iter().enumerate() {
            let position = COLUMNS
                .iter()
                .zip(&mut indexes)
                .find(|(known, _)| **known == name);
            let Some((_, position)) = position else {
                return Err(FileError::Header(format!(
                    "column {} is unknown",
                    index + 1
                )));
            };
            if position.replace(index).is_some() {
                return Err(FileError::Header(format!("{name} appears twice")));
            }
        }
        if indexes.first().copied().flatten().is_none() {
            return Err(FileError::Header(format!("{} is missing", COLUMNS[0])));
        }
        Ok(Self {
            indexes,
            count: header.len(),
        })
    }

    /// Returns a field. `None` if the column is absent, or the field is empty.
    fn get<'a>(&self, record: &'a StringRecord, column: usize) -> Option<&'a str> {
        let position = self.indexes.get(column).copied().flatten()?;
        record.get(position).filter(|text| !text.is_empty())
    }

    fn number(&self, line: u64, record: &StringRecord) -> Result<NewNumber, RejectedLine> {
        if record.len() != self.count {
            let message = format!("must have {} fields, like the header", self.count);
            return Err(reject(line, "", LineFault::FieldCount, message));
        }
        let [number, mode, pin_length, max_active] =
            [0, 1, 2, 3].map(|column| self.get(record, column));
        let number =
            number.ok_or_else(|| reject(line, COLUMNS[0], LineFault::Missing, "is required"))?;
        let number = PhoneNumber::parse(number).map_err(|rule| {
            reject(
                line,
                COLUMNS[0],
                LineFault::NotE164,
                format!("E.164: {rule}"),
            )
        })?;
        let mode = match mode {
            None | Some("exclusive") => NumberMode::Exclusive,
            Some("shared") => NumberMode::Shared,
            Some(_) => {
                let rule = "must be one of: exclusive, shared";
                return Err(reject(line, COLUMNS[1], LineFault::InvalidValue, rule));
            }
        };
        let pin_length = parse_integer(line, COLUMNS[2], pin_length)?;
        let max_active = parse_integer(line, COLUMNS[3], max_active)?;
        NewNumber::with_defaults(number, mode, pin_length, max_active).map_err(|error| {
            let field = if error == NumberError::PinLength {
                COLUMNS[2]
            } else {
                COLUMNS[3]
            };
            reject(line, field, LineFault::OutOfRange, error.to_string())
        })
    }
}

fn parse_integer<T: std::str::FromStr>(
    line: u64,
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, RejectedLine> {
    let read = text.map(str::parse).transpose();
    read.map_err(|_| {
        reject(
            line,
            field,
            LineFault::InvalidValue,
            "must be an integer in its range",
        )
    })
}

fn reject(
    line: u64,
    field: &'static str,
    fault: LineFault,
    message: impl Into<String>,
) -> RejectedLine {
    RejectedLine {
        line,
        field,
        fault,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<(u64, &'static str, &'static str)> {
        let file = NumberFile::read(text.as_bytes()).unwrap();
        file.refused
            .iter()
            .map(|rejected| (rejected.line, rejected.field, rejected.fault.as_str()))
            .collect()
    }

    #[test]
    fn each_fault_is_reported_with_its_line_and_column() {
        let text = "virtual_number,mode,pin_length,max_active\n\
                    +914000000001,exclusive,4,1\n\
                    914000000002,exclusive,4,1\n\
                    +914000000003,both,4,1\n\
                    +914000000004,exclusive,6,1\n\
                    +914000000005,exclusive,4,2\n\
                    +914000000006,shared,4,5001\n\
                    +914000000007,shared,x,\n\
                    +914000000001,shared,,\n\
                    ,shared,,\n\
                    +914000000008,shared\n\
                    +914000000009,shared,6,-1\n";
        let expected = [
            (3, "virtual_number", "not_e164"),
            (4, "mode", "invalid_value"),
            (5, "pin_length", "out_of_range"),
            (6, "max_active", "out_of_range"),
            (7, "max_active", "out_of_range"),
            (8, "pin_length", "invalid_value"),
            (9, "virtual_number", "repeated"),
            (10, "virtual_number", "required"),
            (11, "", "invalid_csv"),
            (12, "max_active", "invalid_value"),
        ];
        assert_eq!(refused(text), expected);
    }

    #[test]
    fn files_of_spreadsheets_are_accepted() {
        let text = "\u{feff}max_active , virtual_number,mode\r\n,+914000000001,\r\n\r\n\"9\",\"+914000000002\", shared\r\n";
        let file = NumberFile::read(text.as_bytes()).unwrap();
        let read: Vec<_> = file
            .numbers
            .iter()
            .map(|(_, new)| (new.mode, new.pin_length, new.max_active))
            .collect();
        assert_eq!(
            read,
            [(NumberMode::Exclusive, 4, 1), (NumberMode::Shared, 4, 9)]
        );
        assert_eq!(refused("virtual_number\n+914000000001\n"), []);
    }

    #[test]
    fn an_invalid_file_is_rejected_as_a_whole() {
        let header =
            |text: &str| matches!(NumberFile::read(text.as_bytes()), Err(FileError::Header(_)));
        for text in [
            "",
            "\n",
            "mode\nshared\n",
            "virtual_number,colour\n",
            "virtual_number,virtual_number\n",
        ] {
            assert!(header(text), "{text}");
        }
        assert!(matches!(
            NumberFile::read(b"virtual_number\n"),
            Err(FileError::Empty)
        ));
        assert!(matches!(
            NumberFile::read(b"virtual_number\n\xff\n"),
            Err(FileError::NotUtf8)
        ));
        let long = format!("virtual_number\n{}", "x\n".repeat(MAX_LINES + 1));
        assert!(matches!(
            NumberFile::read(long.as_bytes()),
            Err(FileError::TooLong)
        ));
    }
}
