//! The program `ct`.

fn main() {}
