//! One picture of a scene, with tiny-skia: a box as dark as its place, a light grey border without
//! hue, antialiased balls.

use tiny_skia::{Color, FillRule, Paint, PathBuilder, Pixmap, Rect, Transform};

use super::room::{METRES, WALL};
use super::scene::Scene;

/// Width and height of every video, in pixels.
pub const PIXELS: u32 = 96;
/// Floor, walls and ceiling: no hue, so that nothing that looks for a ball's colour finds them.
const BORDER: [u8; 3] = [176, 176, 176];

const PIXELS_PER_METRE: f32 = PIXELS as f32 / METRES;

/// Draws the scene's balls at `centres` (`[x, y]` metres from the lower left corner, y up):
/// [`PIXELS`] x [`PIXELS`] RGB bytes, rows from top to bottom. A ball without a centre is not
/// drawn.
pub fn draw(scene: &Scene, centres: &[[f32; 2]]) -> Vec<u8> {
    let Some(mut canvas) = Pixmap::new(PIXELS, PIXELS) else {
        // Pixmap::new refuses only sizes of zero or beyond i32, which PIXELS is not.
        return vec![0; (PIXELS * PIXELS * 3) as usize];
    };
    canvas.fill(opaque(BORDER));
    let inner = (METRES - 2.0 * WALL) * PIXELS_PER_METRE;
    if let Some(inside) = Rect::from_xywh(
        WALL * PIXELS_PER_METRE,
        WALL * PIXELS_PER_METRE,
        inner,
        inner,
    ) {
        fill(
            &mut canvas,
            &PathBuilder::from_rect(inside),
            scene.background,
        );
    }
    for (ball, [x, y]) in scene.balls.iter().zip(centres) {
        let circle = PathBuilder::from_circle(
            x * PIXELS_PER_METRE,
            (METRES - y) * PIXELS_PER_METRE,
            ball.radius * PIXELS_PER_METRE,
        );
        if let Some(circle) = circle {
            fill(&mut canvas, &circle, ball.colour);
        }
    }
    // Everything is opaque, so premultiplied bytes are plain ones.
    canvas
        .data()
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

fn fill(canvas: &mut Pixmap, path: &tiny_skia::Path, colour: [u8; 3]) {
    let mut paint = Paint {
        anti_alias: true,
        ..Paint::default()
    };
    paint.set_color(opaque(colour));
    canvas.fill_path(path, &paint, FillRule::Winding, Transform::identity(), None);
}

fn opaque([red, green, blue]: [u8; 3]) -> Color {
    Color::from_rgba8(red, green, blue, 255)
}

#[cfg(test)]
mod tests {
    use super::super::prompt::colour_of;
    use super::super::{FRAMES, World};
    use super::*;

    fn pixels(frame: &[u8]) -> impl Iterator<Item = (f32, f32, [f32; 3])> + '_ {
        let side = PIXELS as usize;
        frame.chunks_exact(3).enumerate().map(move |(index, rgb)| {
            (
                (index % side) as f32 + 0.5,
                (index / side) as f32 + 0.5,
                [rgb[0], rgb[1], rgb[2]].map(f32::from),
            )
        })
    }

    /// The centre of the pixels nearest to `colour`, in pixels from the upper left corner.
    fn centroid(frame: &[u8], colour: [u8; 3]) -> [f32; 2] {
        let near = |rgb: [f32; 3]| {
            (0..3)
                .map(|channel| (rgb[channel] - f32::from(colour[channel])).powi(2))
                .sum::<f32>()
                < 60f32.powi(2)
        };
        let (mut sum, mut count) = ([0.0, 0.0], 0.0);
        for (x, y, _) in pixels(frame).filter(|(_, _, rgb)| near(*rgb)) {
            sum = [sum[0] + x, sum[1] + y];
            count += 1.0;
        }
        assert!(count > 100.0, "{count} pixels of {colour:?}");
        sum.map(|total| total / count)
    }

    #[test]
    fn a_drawn_ball_is_where_the_simulation_has_it() {
        for word in ["red", "green", "blue", "yellow"] {
            for prompt in [
                format!("a small {word} ball is dropped on earth"),
                format!("a large {word} ball is thrown to the left on jupiter"),
            ] {
                let world = World::new(11);
                let (scene, motion) = (
                    world.scene(&prompt, 0).unwrap(),
                    world.motion(&prompt, 0).unwrap(),
                );
                for frame in 0..FRAMES {
                    let [x, y] = motion.centres[frame][0];
                    let seen = centroid(
                        &draw(&scene, &motion.centres[frame]),
                        colour_of(word).unwrap(),
                    );
                    let off = (seen[0] - x * 24.0).hypot(seen[1] - (4.0 - y) * 24.0);
                    assert!(off < 0.5, "{prompt}, frame {frame}: {off} pixels off");
                }
            }
        }
    }

    #[test]
    fn the_drawn_area_is_that_of_the_disc() {
        let scene = World::new(1)
            .scene("a large red ball is dropped on earth", 0)
            .unwrap();
        let frame = draw(&scene, &[[2.013, 1.987]]);
        // Between background and red, how much of each pixel is covered.
        let (from, to) = (f32::from(scene.background[0]), 230.0);
        let inside =
            pixels(&frame).filter(|(x, y, _)| (4.0..92.0).contains(x) && (4.0..92.0).contains(y));
        let area: f32 = inside
            .map(|(_, _, rgb)| (rgb[0] - from) / (to - from))
            .sum();
        let expected = std::f32::consts::PI * (0.55f32 * 24.0).powi(2);
        assert!(
            (area / expected - 1.0).abs() < 0.01,
            "{area} pixels, not {expected}"
        );
    }

    #[test]
    fn the_border_is_light_and_has_no_hue() {
        let scene = World::new(1)
            .scene("a large red ball is dropped on earth", 0)
            .unwrap();
        let frame = draw(&scene, &[[2.0, 2.0]]);
        let border: Vec<[f32; 3]> = pixels(&frame)
            .filter(|(x, y, _)| x.min(*y) < 2.0 || x.max(*y) > 94.0)
            .map(|(_, _, rgb)| rgb)
            .collect();
        assert_eq!(border.len(), 96 * 96 - 92 * 92);
        assert!(border.iter().all(|rgb| *rgb == [176.0; 3]));
        let background = scene.background.map(f32::from);
        assert!(pixels(&frame).any(|(x, y, rgb)| (x, y) == (3.5, 3.5) && rgb == background));
    }
}
