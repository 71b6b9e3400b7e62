//! The first 100 bytes of a SQLite file: what they promise, and whether that can be true.
//!
//! Pure: bytes in, a header or a reason out. What the rest of a file holds is not judged here.

use super::load::LoadError;

/// Bytes of the header (SQLite: fileformat2.html, section 1.3).
pub(super) const HEADER_BYTES: usize = 100;

/// By this beginning a file is taken for a database; what follows must then be right.
pub(super) const BEGINNING: &[u8] = b"SQLite format";

const MAGIC: &[u8] = b"SQLite format 3\0";

/// How text is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, little-endian.
    Utf16Little,
    /// UTF-16, big-endian.
    Utf16Big,
}

/// What a file's header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a page: a power of two from 512 to 65,536.
    pub page_bytes: u32,
    /// Pages in the file; `None` when a program too old to keep this field wrote last.
    pub pages: Option<u32>,
    /// How text is stored.
    pub encoding: Encoding,
    /// Whether it is to be opened with a WAL.
    pub is_wal: bool,
    /// `PRAGMA user_version`.
    pub user_version: i32,
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// The SQLite that wrote last, as 3051003 for 3.51.3; 0 in a file without any content.
    pub sqlite_version: u32,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`LoadError::Header`] with the field that cannot be.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, LoadError> {
        let wrong = |what: String| Err(LoadError::Header(what));
        if &bytes[..16] != MAGIC {
            return wrong("its first 16 bytes are not those of SQLite 3".to_owned());
        }
        let page_bytes = match u32::from(u16::from_be_bytes([bytes[16], bytes[17]])) {
            1 => 65_536,
            other => other,
        };
        if !page_bytes.is_power_of_two() || page_bytes < 512 {
            return wrong(format!("a page size of {page_bytes} bytes cannot be"));
        }
        if bytes[18] > 2 || bytes[19] > 2 {
            return wrong("it needs a later version of SQLite".to_owned());
        }
        if bytes[18] == 0 || bytes[19] == 0 || bytes[21..24] != [64, 32, 32] {
            return wrong("its format fields are damaged".to_owned());
        }
        if page_bytes - u32::from(bytes[20]) < 480 {
            return wrong(format!("it reserves {} bytes of each page", bytes[20]));
        }
        if word(bytes, 44) > 4 {
            return wrong(format!("its schema format is {}, not 1 to 4", word(bytes, 44)));
        }
        let encoding = match word(bytes, 56) {
            // 0 stands in a database without any content.
            0 | 1 => Encoding::Utf8,
            2 => Encoding::Utf16Little,
            3 => Encoding::Utf16Big,
            other => return wrong(format!("its text encoding is {other}, not 1 to 3")),
        };
        let pages = (word(bytes, 24) == word(bytes, 92)).then(|| word(bytes, 28));
        Ok(Self {
            page_bytes,
            pages: pages.filter(|pages| *pages > 0),
            encoding,
            is_wal: bytes[18] == 2,
            user_version: word(bytes, 60).cast_signed(),
            application_id: word(bytes, 68).cast_signed(),
            sqlite_version: word(bytes, 96),
        })
    }

    /// Bytes the file must have, where the header says.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.pages.map(|pages| u64::from(pages) * u64::from(self.page_bytes))
    }

    /// Judges the length of a whole file.
    ///
    /// # Errors
    /// [`LoadError::Short`] or [`LoadError::Long`].
    pub(super) fn check_length(&self, bytes: u64) -> Result<(), LoadError> {
        let page_bytes = self.page_bytes;
        let found = bytes;
        let Some(pages) = self.pages else {
            let is_whole = bytes > 0 && bytes.is_multiple_of(u64::from(page_bytes));
            return if is_whole { Ok(()) } else { Err(LoadError::Ragged { page_bytes, found }) };
        };
        match self.bytes().unwrap_or(0).cmp(&bytes) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(LoadError::Short { pages, page_bytes, found }),
            std::cmp::Ordering::Less => Err(LoadError::Long { pages, page_bytes }),
        }
    }

    /// Judges the length of a file of which more may come.
    ///
    /// # Errors
    /// [`LoadError::Long`].
    pub(super) fn check_not_longer(&self, bytes: u64) -> Result<(), LoadError> {
        match self.pages {
            Some(pages) if self.bytes().is_some_and(|promised| bytes > promised) => {
                Err(LoadError::Long { pages, page_bytes: self.page_bytes })
            }
            _ => Ok(()),
        }
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl Fn(&mut [u8; HEADER_BYTES])) -> Result<Header, LoadError> {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&[16, 0, 2, 2, 0, 64, 32, 32]);
        bytes[31] = 9;
        bytes[47] = 4;
        bytes[59] = 1;
        change(&mut bytes);
        Header::parse(&bytes)
    }

    #[test]
    fn reads_what_sqlite_writes() {
        let good = header(|_| ()).unwrap();
        assert_eq!((good.page_bytes, good.pages), (4096, Some(9)));
        assert_eq!(
            header(|bytes| bytes[16..18].copy_from_slice(&[0, 1])).unwrap().page_bytes,
            65_536
        );
        assert_eq!(header(|bytes| bytes[24] = 1).unwrap().pages, None);
        assert_eq!(header(|bytes| bytes[59] = 3).unwrap().encoding, Encoding::Utf16Big);
    }

    #[test]
    fn refuses_fields_that_cannot_be() {
        for (at, value) in
            [(4, b'X'), (17, 9), (16, 0), (18, 3), (19, 0), (22, 1), (47, 5), (59, 4)]
        {
            assert!(header(|bytes| bytes[at] = value).is_err(), "byte {at} = {value}");
        }
    }

    #[test]
    fn judges_lengths() {
        let good = header(|_| ()).unwrap();
        assert!(good.check_length(9 * 4096).is_ok());
        assert!(matches!(good.check_length(8 * 4096), Err(LoadError::Short { .. })));
        assert!(matches!(good.check_length(9 * 4096 + 1), Err(LoadError::Long { .. })));
    }
}
