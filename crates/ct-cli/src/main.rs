//! The program `ct`: consistency models from the command line.

mod cli;
mod commands;
mod config;
mod device;
mod global;
mod interrupt;
mod logging;
mod mistake;
mod model_path;
mod output;
mod picture;
mod psnr;
mod real_data;
mod ruler;
mod sampling;
mod terminal;
mod training;

use std::process::ExitCode;

/// Keeps the pages of large buffers, which a training step needs again at once.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

fn main() -> ExitCode {
    ct_alloc::keep_pages();
    cli::main()
}
