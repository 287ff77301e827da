//! ffprobe's JSON.

use serde_json::Value;

use super::{Described, Stream, named};

pub(super) fn described(json: &[u8]) -> Option<Described> {
    let described: Value = serde_json::from_slice(json).ok()?;
    let file_seconds = described.get("format").and_then(seconds);
    let version = described
        .get("program_version")
        .and_then(|program| program.get("version"))
        .and_then(Value::as_str);
    let streams = described.get("streams")?.as_array()?;
    Some(Described {
        streams: streams
            .iter()
            .filter_map(|described| stream(described, file_seconds))
            .collect(),
        ffmpeg_version: version.unwrap_or_default().to_string(),
    })
}

fn stream(described: &Value, file_seconds: Option<f64>) -> Option<Stream> {
    let number = |name| described.get(name).and_then(Value::as_u64);
    let text = |name| described.get(name).and_then(Value::as_str);
    let side = |name| number(name).and_then(|side| u32::try_from(side).ok());
    let disposition = |name| {
        let all = described.get("disposition");
        all.and_then(|all| all.get(name)).and_then(Value::as_u64) == Some(1)
    };
    let rates = ["avg_frame_rate", "r_frame_rate"]
        .into_iter()
        .filter_map(|name| fraction(text(name)?, '/'));
    let turn = described
        .get("side_data_list")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find_map(|data| data.get("rotation")?.as_f64()));
    let tags = described.get("tags").and_then(Value::as_object);
    let alpha_mode = tags.and_then(|tags| {
        let mode = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case("alpha_mode");
        tags.iter().find(mode)?.1.as_str()
    });
    Some(Stream {
        index: number("index")? as usize,
        width: side("width")?,
        height: side("height")?,
        turn: turn.unwrap_or(0.0),
        pixel_aspect: text("sample_aspect_ratio").and_then(|ratio| fraction(ratio, ':')),
        rate: rates.reduce(f64::min),
        seconds: seconds(described),
        file_seconds,
        codec: text("codec_name").unwrap_or_default().to_string(),
        pixel_format: text("pix_fmt").unwrap_or_default().to_string(),
        matrix: text("color_space").and_then(named),
        transfer: text("color_transfer").and_then(named),
        primaries: text("color_primaries").and_then(named),
        interlaced: text("field_order").and_then(|order| match order {
            "progressive" => Some(false),
            "tt" | "bb" | "tb" | "bt" => Some(true),
            _ => None,
        }),
        alpha_beside: alpha_mode == Some("1"),
        is_default: disposition("default"),
        is_cover: disposition("attached_pic"),
    })
}

/// `24000/1001` or `4:3`; `None` for `0/0` and `0:1`, which is how ffprobe says "unknown".
fn fraction(text: &str, between: char) -> Option<f64> {
    let (numerator, denominator) = text.split_once(between)?;
    let (numerator, denominator): (u32, u32) = (numerator.parse().ok()?, denominator.parse().ok()?);
    (numerator > 0 && denominator > 0).then(|| f64::from(numerator) / f64::from(denominator))
}

fn seconds(part: &Value) -> Option<f64> {
    part.get("duration")?
        .as_str()?
        .parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
}
