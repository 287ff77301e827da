//! The box that every scene plays in.

/// Side of the square box, walls included, in metres: what one picture shows.
pub const METRES: f32 = 4.0;
/// Thickness of floor, walls and ceiling, in metres; balls move between `WALL` and `METRES - WALL`.
pub const WALL: f32 = 0.1;
