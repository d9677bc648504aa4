//! One line per figure: what, the measured value, the bound, and whether it holds.

/// Prints a figure that must not be above `bound`.
pub(crate) fn at_most(what: &str, value: f64, bound: f64, unit: &str) {
    line(what, value, "≤", bound, unit, value <= bound);
}

/// Prints a figure that must not be below `bound`.
pub(crate) fn at_least(what: &str, value: f64, bound: f64, unit: &str) {
    line(what, value, "≥", bound, unit, value >= bound);
}

/// Prints a figure without a bound.
pub(crate) fn fact(what: &str, value: f64, unit: &str) {
    println!("| {what} | {value:.2} {unit} | | |");
}

/// Starts a table.
pub(crate) fn head(title: &str) {
    println!("\n### {title}\n\n| figure | measured | bound | holds |\n|---|---|---|---|");
}

fn line(what: &str, value: f64, sign: &str, bound: f64, unit: &str, holds: bool) {
    println!("| {what} | {value:.2} {unit} | {sign} {bound} {unit} | {} |", if holds { "yes" } else { "**no**" });
}

/// The value below which the given share of all values lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank within a slice")]
    let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[rank - 1]
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}
