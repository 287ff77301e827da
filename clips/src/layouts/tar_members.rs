//! The members of a tar archive, header by header: nothing is read into memory but headers and
//! names of a bounded length, and data is gone past.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

use tar::{EntryType, Header, PaxExtensions};

/// Bytes of a block.
const BLOCK: u64 = 512;

/// Most bytes of a name, or of a member's extended headers.
const MAX_NAME_BYTES: u64 = 64 << 10;

/// Bytes behind the end mark that may only be zero.
const PADDING: u64 = 64 << 10;

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TarError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its checksum is {found}; expected {expected}")]
    Checksum { found: u32, expected: u32 },
    #[error("a name or extended header has {0} bytes; at most {MAX_NAME_BYTES} are read")]
    LongName(u64),
    #[error("a member's size is {0:?}; expected a whole number")]
    Size(String),
    #[error("a name belongs to no member")]
    NoMember,
    #[error(
        "it goes on behind its end mark, at byte {0}; are these two archives in one file? unpack \
            both and pack them together"
    )]
    GoesOn(u64),
}

/// What a header says of a member.
pub(super) struct Member {
    /// As written; not only UTF-8.
    pub name: Vec<u8>,
    pub kind: EntryType,
    /// The first byte of its data.
    pub start: u64,
    /// How many there are.
    pub bytes: u64,
}

pub(super) struct Members {
    file: BufReader<File>,
    /// The next header's place.
    at: u64,
    length: u64,
}

impl Members {
    /// Those of an archive of `length` bytes.
    pub fn new(file: File, length: u64) -> Self {
        Self {
            file: BufReader::new(file),
            at: 0,
            length,
        }
    }

    /// The next member; none at the end.
    pub fn next(&mut self) -> Result<Option<Member>, TarError> {
        let (mut name, mut size, mut is_sparse) = (None, None, false);
        loop {
            let Some(header) = self.header()? else {
                return match name {
                    Some(_) => Err(TarError::NoMember),
                    None => Ok(None),
                };
            };
            let bytes = header.entry_size()?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut text = self.text(bytes)?;
                    if text.last() == Some(&0) {
                        text.pop();
                    }
                    name = Some(text);
                }
                EntryType::XHeader => {
                    let text = self.text(bytes)?;
                    for extension in PaxExtensions::new(&text) {
                        let extension = extension?;
                        match extension.key_bytes() {
                            b"path" => name = Some(extension.value_bytes().to_vec()),
                            b"size" => size = Some(whole_number(extension.value_bytes())?),
                            key => is_sparse |= key.starts_with(b"GNU.sparse."),
                        }
                    }
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => self.pass(bytes),
                kind => {
                    let kind = if is_sparse {
                        EntryType::GNUSparse
                    } else {
                        kind
                    };
                    if kind == EntryType::GNUSparse {
                        self.pass_map(&header)?;
                    }
                    let (start, bytes) = (self.at, size.unwrap_or(bytes));
                    self.pass(bytes);
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some(Member {
                        name,
                        kind,
                        start,
                        bytes,
                    }));
                }
            }
        }
    }

    /// A member's data, up to `most` bytes.
    pub fn data(&mut self, member: &Member, most: u64) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        self.file.seek(SeekFrom::Start(member.start))?;
        let bytes = member.bytes.min(most);
        (&mut self.file).take(bytes).read_to_end(&mut data)?;
        match data.len() as u64 == bytes {
            true => Ok(data),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next header; none at the end mark, or where the file ends.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        if self.at >= self.length {
            return Ok(None);
        }
        let block = self.block()?;
        if block.iter().all(|byte| *byte == 0) {
            return self.check_end().map(|()| None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The checksum's own eight bytes count as spaces.
        let expected = sum(&block[..148]) + 8 * 32 + sum(&block[156..]);
        let found = header.cksum()?;
        match found == expected {
            true => Ok(Some(header)),
            false => Err(TarError::Checksum { found, expected }),
        }
    }

    fn block(&mut self) -> io::Result<[u8; BLOCK as usize]> {
        let mut block = [0; BLOCK as usize];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut block)?;
        self.at += BLOCK;
        Ok(block)
    }

    /// Behind the end mark there is nothing but zeros.
    fn check_end(&mut self) -> Result<(), TarError> {
        let mut rest = Vec::new();
        (&mut self.file).take(PADDING).read_to_end(&mut rest)?;
        match rest.iter().position(|byte| *byte != 0) {
            Some(place) => Err(TarError::GoesOn(self.at + place as u64)),
            None => Ok(()),
        }
    }

    /// The data of a member that describes another.
    fn text(&mut self, bytes: u64) -> Result<Vec<u8>, TarError> {
        if bytes > MAX_NAME_BYTES {
            return Err(TarError::LongName(bytes));
        }
        let mut text = vec![0; bytes as usize];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut text)?;
        self.pass(bytes);
        Ok(text)
    }

    /// A sparse member's map goes on in blocks of its own before the data.
    fn pass_map(&mut self, header: &Header) -> Result<(), TarError> {
        let mut goes_on = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while goes_on {
            goes_on = self.block()?[504] != 0;
        }
        Ok(())
    }

    /// Goes past data, which fills whole blocks.
    fn pass(&mut self, bytes: u64) {
        let blocks = bytes.div_ceil(BLOCK).saturating_mul(BLOCK);
        self.at = self.at.saturating_add(blocks);
    }
}

fn whole_number(text: &[u8]) -> Result<u64, TarError> {
    let text = String::from_utf8_lossy(text);
    text.parse().map_err(|_| TarError::Size(text.into_owned()))
}
