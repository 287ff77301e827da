//! From a stream as it is stored to pictures as a player shows them: ffmpeg's filters, and what is
//! refused because no filter does it.
//!
//! | property | what is done |
//! |---|---|
//! | interlaced frames | `yadif`: a whole frame for every two fields |
//! | matrix | the stream's own, else television's of the stored size |
//! | range | both become 0 to 255 |
//! | HDR (PQ, HLG), wide primaries | `zscale` to BT.709; above 203 nits, paper white, is 255 |
//! | transparency | RGBA, put over black by the reader |

use crate::video_io::probe::Stream;

/// Where the filters of an HDR film put white: BT.2408's reference level, in nits.
const WHITE_NITS: u32 = 203;

/// The name under which a frame's time is printed.
const TIME_KEY: &str = "afd";

/// What helps where colours are not read.
const SDR: &str = "convert it to BT.709 without HDR";

/// What ffmpeg is told.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Options before the input.
    pub decoder: &'static [&'static str],
    pub filters: String,
    /// Whether pixels come as RGBA.
    pub has_alpha: bool,
}

/// How a stream becomes pictures of its upright size; or why it cannot.
pub(super) fn plan(stream: &Stream) -> Result<Plan, String> {
    let quarters = stream.quarters().ok_or_else(|| {
        format!(
            "it is to be turned by {} degrees, and only quarter turns are shown",
            stream.turn
        )
    })?;
    let has_alpha = stream.alpha_beside || has_alpha(&stream.pixel_format);
    let colours = Colours::of(stream)?;
    if has_alpha && colours != Colours::Ordinary {
        return Err(format!(
            "it has both transparency and HDR or wide colours; {SDR}"
        ));
    }
    let mut filters = Vec::new();
    match stream.interlaced {
        // ffmpeg turns pictures before any filter, and turned fields are columns.
        Some(true) if quarters != 0 => {
            return Err("it is interlaced and to be turned; deinterlace it first".to_string());
        }
        // Frames that do not say that they are fields pass as they are.
        Some(true) | None if quarters == 0 && is_yuv(&stream.pixel_format) => {
            filters.push("yadif=mode=send_frame:parity=auto:deint=interlaced".to_string());
        }
        _ => {}
    }
    // A matrix means the stored size: a tall picture may have been stored lying down.
    let matrix = match stream.matrix.as_deref() {
        Some(_) => "auto",
        None => usual_matrix(stream.width, stream.height),
    };
    let matrix = match colours {
        Colours::Ordinary => matrix,
        Colours::Mapped { is_hdr } => {
            filters.push(mapped(stream, is_hdr));
            "auto"
        }
    };
    let (width, height, _) = stream.upright();
    filters.push(format!(
        "scale={width}:{height}:in_color_matrix={matrix}:out_range=pc"
    ));
    // A frame's time, in microseconds, on a line of its own among the messages.
    filters.push("settb=1/1000000".to_string());
    filters.push(format!("metadata=mode=add:key={TIME_KEY}:value=1"));
    filters.push(format!("metadata=mode=print:key={TIME_KEY}"));
    Ok(Plan {
        // ffmpeg's own decoders of these do not read the second picture.
        decoder: match (stream.alpha_beside, stream.codec.as_str()) {
            (true, "vp8") => &["-c:v", "libvpx"],
            (true, "vp9") => &["-c:v", "libvpx-vp9"],
            _ => &[],
        },
        filters: filters.join(","),
        has_alpha,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Colours {
    Ordinary,
    /// Brought to BT.709's primaries and transfer function.
    Mapped {
        is_hdr: bool,
    },
}

impl Colours {
    fn of(stream: &Stream) -> Result<Self, String> {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let (matrix, transfer) = (name(&stream.matrix), name(&stream.transfer));
        let known = [
            "",
            "gbr",
            "bt709",
            "fcc",
            "bt470bg",
            "smpte170m",
            "smpte240m",
            "bt2020nc",
        ];
        if !known.contains(&&*matrix) {
            return Err(format!(
                "its colours have the matrix {matrix}, which is not read; {SDR}"
            ));
        }
        match (transfer.as_str(), name(&stream.primaries).as_str()) {
            ("smpte2084" | "arib-std-b67", _) => Ok(Self::Mapped { is_hdr: true }),
            ("linear" | "log100" | "log316" | "smpte428", _) => Err(format!(
                "its transfer function is {transfer}, which is not read; {SDR}"
            )),
            (_, "bt2020" | "smpte431" | "smpte432") => Ok(Self::Mapped { is_hdr: false }),
            _ => Ok(Self::Ordinary),
        }
    }
}

/// HDR or wide colours to BT.709: linear light, white at [`WHITE_NITS`], what is brighter or more
/// colourful cut off.
fn mapped(stream: &Stream, is_hdr: bool) -> String {
    let or = |name: &Option<String>, other: &str| name.clone().unwrap_or(other.to_string());
    let matrix = or(&stream.matrix, if is_hdr { "bt2020nc" } else { "bt709" });
    let transfer = match is_hdr {
        true => or(&stream.transfer, "smpte2084"),
        false => "bt709".to_string(),
    };
    format!(
        "zscale=pin={}:tin={transfer}:min={matrix}:p=bt709:t=bt709:m=gbr:r=pc:npl={WHITE_NITS},\
            format=gbrp",
        or(&stream.primaries, "bt2020")
    )
}

/// The matrix that players take for a stream that names none: television's of its size (mpv,
/// `mp_csp_guess_colorspace`).
fn usual_matrix(width: u32, height: u32) -> &'static str {
    if width >= 1280 || height > 576 {
        "bt709"
    } else {
        "smpte170m"
    }
}

/// Whether ffmpeg's name of a pixel format is one with transparency.
fn has_alpha(pixel_format: &str) -> bool {
    let parts = [
        "yuva", "rgba", "argb", "bgra", "abgr", "gbrap", "ya8", "ya16", "pal8", "ayuv", "vuya",
    ];
    parts.iter().any(|part| pixel_format.contains(part))
}

/// Whether a pixel format is one that fields are stored in.
fn is_yuv(pixel_format: &str) -> bool {
    pixel_format.starts_with("yuv") || pixel_format.starts_with("gray")
}

/// The time that a message of the last filter says: `[Parsed_metadata_4 @ 0x55] [info] frame:27
/// pts:3000000 pts_time:3`. `None` for other messages; a frame may have no time.
pub(super) fn time(message: &str) -> Option<Option<i64>> {
    let line = message.strip_prefix("[Parsed_metadata_")?;
    let (_, rest) = line.split_once("] frame:")?;
    let (_, time) = rest.split_once(" pts:")?;
    Some(time.split_whitespace().next()?.parse().ok())
}

/// What it means where ffmpeg lacks a part that the plan needs.
pub(super) fn lacking(said: &str) -> Option<&'static str> {
    if said.contains("No such filter: 'zscale'") {
        Some(
            "it is HDR or has wide colours, and this ffmpeg was built without zscale, which \
                converts them; install another ffmpeg, or convert it to BT.709",
        )
    } else if said.contains("Unknown decoder 'libvpx") {
        Some(
            "it has transparency, and this ffmpeg was built without libvpx, which reads it; \
                install another ffmpeg, or flatten the film",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream {
            width: 64,
            height: 48,
            pixel_format: "yuv420p".to_string(),
            interlaced: Some(false),
            ..Stream::default()
        }
    }

    #[test]
    fn the_matrix_is_that_of_the_stored_size() {
        let lying = Stream {
            width: 720,
            height: 576,
            turn: 90.0,
            ..stream()
        };
        let filters = plan(&lying).unwrap().filters;
        assert!(
            filters.starts_with("scale=576:720:in_color_matrix=smpte170m:"),
            "{filters}"
        );
        for (width, height, matrix) in [(1280, 720, "bt709"), (640, 480, "smpte170m")] {
            assert_eq!(usual_matrix(width, height), matrix);
        }
    }

    #[test]
    fn what_no_filter_does_is_refused_by_name() {
        let named = |name: &str| Some(name.to_string());
        let refused = |stream: Stream| plan(&stream).unwrap_err();
        let turned = refused(Stream {
            turn: 45.0,
            ..stream()
        });
        assert!(turned.contains("45 degrees"), "{turned}");
        let fields = refused(Stream {
            turn: 180.0,
            interlaced: Some(true),
            ..stream()
        });
        assert!(fields.contains("interlaced"), "{fields}");
        let matrix = refused(Stream {
            matrix: named("ycgco"),
            ..stream()
        });
        assert!(matrix.contains("ycgco"), "{matrix}");
        let transfer = refused(Stream {
            transfer: named("linear"),
            ..stream()
        });
        assert!(transfer.contains("linear"), "{transfer}");
        let both = refused(Stream {
            transfer: named("smpte2084"),
            alpha_beside: true,
            ..stream()
        });
        assert!(both.contains("transparency"), "{both}");
        assert!(
            lacking("[AVFilterGraph] No such filter: 'zscale'")
                .unwrap()
                .contains("HDR")
        );
        assert!(
            lacking("Unknown decoder 'libvpx-vp9'")
                .unwrap()
                .contains("libvpx")
        );
    }

    #[test]
    fn fields_hdr_and_transparency_get_their_filters() {
        let interlaced = Stream {
            interlaced: Some(true),
            ..stream()
        };
        assert!(plan(&interlaced).unwrap().filters.starts_with("yadif="));
        let hdr = Stream {
            transfer: Some("arib-std-b67".to_string()),
            ..stream()
        };
        let filters = plan(&hdr).unwrap().filters;
        assert!(filters.starts_with("zscale=pin=bt2020:tin=arib-std-b67:min=bt2020nc:"));
        let clear = Stream {
            alpha_beside: true,
            codec: "vp9".to_string(),
            ..stream()
        };
        let plan = plan(&clear).unwrap();
        assert!(plan.has_alpha && plan.decoder == ["-c:v", "libvpx-vp9"]);
    }

    #[test]
    fn times_are_told_from_other_messages() {
        let line = "[Parsed_metadata_4 @ 0x55] [info] frame:27   pts:3000000 pts_time:3";
        assert_eq!(time(line), Some(Some(3_000_000)));
        assert_eq!(time(&line.replace("3000000", "NOPTS")), Some(None));
        assert_eq!(
            time("    title : [Parsed_metadata_4 @ 0x55] [info] frame:2 pts:3 "),
            None
        );
        assert_eq!(time("[Parsed_metadata_4 @ 0x55] [info] afd=1"), None);
    }
}
