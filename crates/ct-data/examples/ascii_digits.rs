//! Prints a few of the embedded digits: `cargo run -p ct-data --example ascii_digits`.
#![expect(clippy::print_stdout, reason = "printing is what this example is for")]

use ct_data::{LoadOptions, Source};

/// From dark to bright, on a terminal with bright text.
const SHADES: [char; 5] = [' ', '.', 'o', 'O', '@'];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let digits = Source::Digits.load(&LoadOptions::default())?;
    println!("{} digits, mean {:.3}, std {:.3}", digits.len(), digits.mean(), digits.std());

    for i in 0..5 {
        println!("\nlabel {:?}", digits.label(i));
        let image = digits.tensor(&[i])?.reshape((8, 8))?.to_vec2::<f32>()?;
        for row in image {
            let line: String = row.into_iter().flat_map(|v| [shade(v); 2]).collect();
            println!("{line}");
        }
    }
    Ok(())
}

/// The shade of a value in [-1, 1].
fn shade(v: f32) -> char {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates when cast"
    )]
    let level = ((v + 1.0) * 0.5 * SHADES.len() as f32) as usize;
    SHADES[level.min(SHADES.len() - 1)]
}
