//! The `afd` program: see [`afd::cli`].

fn main() -> std::process::ExitCode {
    afd::cli::main()
}
