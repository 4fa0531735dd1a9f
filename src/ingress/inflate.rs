//! Compressed bodies: inflated up to a limit and not a byte further.
//!
//! The output is bounded, not the ratio: a small body may honestly inflate a hundredfold, and a bomb is stopped at the limit
//! whatever its ratio. Inflating first and measuring after would have the bomb already in memory.

use std::io::Read;

use crate::domain::refusal::{Code, Refusal};

/// A way to compress a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encoding of a `Content-Encoding` header; `Ok(None)` for none at all.
    pub fn parse(header: &str) -> Result<Option<Encoding>, Refusal> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
            "zstd" => Ok(Some(Encoding::Zstd)),
            other => Err(Refusal::new(
                Code::UnsupportedMediaType,
                format!(
                    "bodies are read plain, as gzip or as zstd, not as {}",
                    super::suggest::quoted(other)
                ),
            )),
        }
    }
}

/// What one body may not exceed, in words.
pub fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        Code::BodyTooLarge,
        format!("the body is larger than {limit} bytes; send it in parts (nothing of it was taken)"),
    )
}

/// Inflates a body. `grow` is asked before each further piece of memory (in bytes) and may refuse it.
pub fn inflate(
    body: &[u8],
    encoding: Encoding,
    limit: usize,
    mut grow: impl FnMut(usize) -> Result<(), Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let damaged =
        |error: std::io::Error| Refusal::new(Code::MalformedJson, format!("the compressed body cannot be read: {error}"));
    let mut reader: Box<dyn Read> = match encoding {
        Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(body).map_err(damaged)?;
            // A frame may ask for a window of gigabytes; 2^23 is what RFC 8878 recommends to support, and bounds the memory.
            decoder.window_log_max(23).map_err(damaged)?;
            Box::new(decoder)
        }
    };
    const PIECE: usize = 64 * 1024;
    let mut out = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let n = reader.read(&mut piece).map_err(damaged)?;
        if n == 0 {
            return Ok(out);
        }
        if out.len() + n > limit {
            return Err(too_large(limit));
        }
        grow(n)?;
        out.extend_from_slice(&piece[..n]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let text = br#"{"a": 1}"#.repeat(1000);
        let packed = zstd::stream::encode_all(&text[..], 3).unwrap();
        assert_eq!(inflate(&gzip(&text), Encoding::Gzip, 1 << 20, |_| Ok(())).unwrap(), text);
        assert_eq!(inflate(&packed, Encoding::Zstd, 1 << 20, |_| Ok(())).unwrap(), text);
    }

    #[test]
    fn a_bomb_is_stopped_while_it_inflates() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        let mut taken = 0;
        let refused = inflate(&bomb, Encoding::Gzip, 1 << 20, |n| {
            taken += n;
            Ok(())
        });
        assert_eq!(refused.unwrap_err().code, Code::BodyTooLarge);
        assert!(taken <= 1 << 20, "{taken}");
    }

    #[test]
    fn a_damaged_body_is_refused() {
        let mut cut = gzip(b"[1,2,3]");
        cut.truncate(cut.len() / 2);
        assert_eq!(
            inflate(&cut, Encoding::Gzip, 1 << 20, |_| Ok(())).unwrap_err().code,
            Code::MalformedJson
        );
        assert!(inflate(b"no zstd", Encoding::Zstd, 1 << 20, |_| Ok(())).is_err());
        assert_eq!(Encoding::parse("br").unwrap_err().code, Code::UnsupportedMediaType);
    }
}
